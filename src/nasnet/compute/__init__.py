"""Engines: a plan and its weights rendered for OpenVINO, ONNX Runtime, torch and TensorFlow.

Arrays in, arrays out; it decodes no picture and downloads nothing.
"""
