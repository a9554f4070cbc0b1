#!/bin/sh
# Takes out of an environment what serving never opens:  docker/slim.sh /opt/venv
#
# Then everything that serving imports is imported once.  That fails the build should this list
# have gone too far, and leaves bytecode of what is used only.  `make image-test` tries every
# kind of answer after it.
set -eu
python=$1/bin/python
cd "$1"/lib/python3.*/site-packages

# Tests; headers, sources and stubs for compilers and type checkers, which the image does not have.
find . -depth -type d \( -name tests -o -name include -o -path ./onnx/backend/test \) \
    -exec rm -r {} +
find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.cc' \
    -o -name '*.cpp' -o -name '*.h' -o -name '*.hpp' \) -delete

# Parts for other work: making, converting and checking networks, building extensions, numba on
# GPUs, coloring other languages.
rm -rf onnx/reference onnxruntime/quantization onnxruntime/tools onnxruntime/transformers \
    numpy/distutils numpy/f2py numba/cuda
find pygments/lexers -name '*.py' ! -name __init__.py ! -name _mapping.py -delete

# ONNX Runtime as a library for C; Python's module has it built in.  What CUDA's provider asks of
# it has not been tried.
[ -e onnxruntime/capi/libonnxruntime_providers_cuda.so ] || rm -f onnxruntime/capi/libonnxruntime.so*

# Text drawing, and a second viewer of the API's description.
rm -f PIL/_imagingft.*.so pillow.libs/libfreetype-* pillow.libs/libharfbuzz-* \
    fastapi_offline/static/redoc.standalone.js

# Symbols.  Only where the wheel's own linker wrote the file: strip ruins most that auditwheel has
# patched (NumPy's and OpenCV's OpenBLAS among them).
strip --strip-unneeded llvmlite/binding/libllvmlite.so
find numba -name '*.so' -exec strip --strip-unneeded {} +

"$python" - <<'PYTHON'
import anyio._backends._asyncio
import cv2
import fastapi.responses
import fastapi_offline
import numba
import numpy as np
import onnx
import onnxruntime
import pillow_heif
import PIL.AvifImagePlugin, PIL.JpegImagePlugin, PIL.PngImagePlugin, PIL.WebPImagePlugin
import PIL.ImageCms
import prometheus_client.multiprocess
import pydantic_settings
import python_multipart
import rich.progress
import typer.main
import uvicorn.main

# The compiler is imported by its first use, and so is its access to NumPy's arrays.
numba.njit(lambda a: a.sum())(np.ones(3, np.float32))
PYTHON
