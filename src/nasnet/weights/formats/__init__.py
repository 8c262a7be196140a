"""Weight files of every published format: one file a format, none needs TensorFlow.

Bytes in, named arrays out; it downloads nothing and executes no pickle. `readers` lists what can be
read, `writers` what can be written. A reader takes a path and gives a `base.Content`; it raises
`WeightsError` where the file is damaged, holds no NASNet-A or asks to run something,
`MalformedError` where the caller may say which file it is, and `MissingExtraError` where a library
is not installed.
"""
