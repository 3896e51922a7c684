"""supernet: architecture search for image classifiers that fit a device's latency budget and serve every group."""

__version__ = "0.1.0"

from supernet import models as models  # registers the model with timm
