# Two images: docker build --target cpu -t adap-tf:cpu .
#             docker build --target gpu -t adap-tf:gpu .
#
# docker run --rm -v "$PWD/runs:/adap/runs" adap-tf:cpu
# docker run --rm --gpus all -v "$PWD/runs:/adap/runs" -v "$HOME/tensorflow_datasets:/data" adap-tf:gpu \
#     --preset cifar10 --precision bfloat16
#
# They run as user 1000, who must be allowed to write in a mounted folder; --user changes that. Python and Debian are
# pinned to a release, and get its mends when the image is built anew (--pull); packages are as in requirements.txt.

FROM python:3.12-slim-trixie AS base
ENV PYTHONUNBUFFERED=1 PYTHONPATH=/app MPLCONFIGDIR=/tmp/matplotlib TFDS_DATA_DIR=/data
# Its home is open to all, or another --user could not even start there.
RUN useradd --uid 1000 --home-dir /adap --no-create-home adap && install -d -o adap -g adap /adap /adap/runs /data
WORKDIR /adap
ENTRYPOINT ["python", "/app/train/main.py"]
# What is installed follows from these files alone; a change of code installs nothing again.
COPY pyproject.toml requirements.txt README.md LICENSE /app/

FROM base AS cpu
RUN pip install --no-cache-dir --constraint /app/requirements.txt "/app[cpu]"
COPY . /app
USER 1000

FROM base AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN pip install --no-cache-dir --constraint /app/requirements.txt "/app[gpu]"
COPY . /app
USER 1000
