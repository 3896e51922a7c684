"""supernet: architecture search for image classifiers that fit a device's latency budget and serve every group."""

from supernet import models as models  # registers the model with timm
