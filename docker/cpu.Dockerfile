# apdraw on CPUs, with HTTP and HEIC. From the top of the repository:
#   docker build -f docker/cpu.Dockerfile -t apdraw .
#   docker run --rm --network none --user "$(id -u):$(id -g)" -v "$PWD:/work" apdraw convert photos
# docs/containers.md tells what was checked of it, without a container engine at hand.
FROM python:3.11-slim-bookworm AS build

WORKDIR /source
COPY pyproject.toml README.md LICENSE THIRD_PARTY.md ./
COPY apdraw_cli apdraw_cli
COPY engines engines
COPY train train
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim-bookworm

RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    --mount=type=bind,source=docker/constraints.txt,target=/constraints.txt \
    python -m pip install --no-cache-dir --constraint /constraints.txt "$(ls /wheels/apdraw-*.whl)[heic,serve]"

RUN useradd --uid 1000 --no-create-home apdraw
# Whoever runs it, and whatever --user says, can write there.
ENV HOME=/tmp
USER apdraw

EXPOSE 8000
WORKDIR /work
ENTRYPOINT ["apdraw"]
CMD ["--help"]
