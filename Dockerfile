# The commands on a CPU: docker build -t supernet . && docker run --rm -v "$PWD/runs:/home/runner/runs" supernet search --device rpi4 --out runs/search
FROM python:3.11-slim
# cc: the faster training kernels are compiled at first use; any version of it will do
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY . /src
# torch's wheels for the CPU, without CUDA's libraries
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu "/src[pretrained]" && rm -rf /src
RUN useradd --create-home --uid 1000 runner
USER 1000
WORKDIR /home/runner
ENTRYPOINT ["supernet"]
CMD ["--help"]
