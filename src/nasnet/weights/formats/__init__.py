"""Weight files of every published format: one file a format, none needs TensorFlow.

Bytes in, named arrays out; it downloads nothing and executes no pickle.
"""
