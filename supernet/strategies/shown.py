"""Images that networks are held against the teacher on, and the distance of each group there.

KL(teacher ∥ network) is what a network adds to the cross-entropy if labels are as the teacher believes: the label of each image is
replaced by its expectation, so images without a label would do.

Shapes: V images, G groups of all attributes, C classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from supernet.problem import Problem
from supernet.scoring import compared_images, members_GV, present_groups
from supernet.teacher import Teacher
from supernet.transplant import fitted_positions

SHOWN = 512  # images


class Shown:
    """Images of search-val and, where these are few, training images that no block was fitted to; as the teacher takes them.

    image_VCHW: of `teacher_VC`, its logits
    groups:     those that search-val has
    base_G:     the teacher's own cross-entropy on search-val
    problem, teacher: what is searched, and from what.  seed: which images.  most: how many, if some of each group are among them
    """

    @torch.no_grad()
    def __init__(self, problem: Problem, teacher: Teacher, seed: int, most: int = SHOWN) -> None:
        train, val = problem.data.train, problem.data.val
        val_V = compared_images(val.group_NA, min(most, len(val)))  # more where there are many groups
        fresh_N = np.setdiff1d(np.arange(len(train)), fitted_positions(problem.data, seed))
        train_V = np.sort(np.random.default_rng(seed).permutation(fresh_N)[: max(0, most - len(val_V))])
        image_NCHW = np.concatenate([np.asarray(val.images_NCHW[val_V]), np.asarray(train.images_NCHW[train_V])])
        group_VA = np.concatenate([val.group_NA[val_V], train.group_NA[train_V]])
        self.image_VCHW = torch.from_numpy(teacher.spec.normalised(image_NCHW))
        self.teacher_VC = torch.cat([teacher.network(part).float() for part in self.image_VCHW.split(256)])
        self.groups = present_groups(val.group_NA[val_V], problem.data.attributes)
        self.member_GV = torch.from_numpy(members_GV(self.groups, group_VA))
        label_V = torch.from_numpy(val.label_N[val_V])
        loss_V = F.cross_entropy(self.teacher_VC[: len(val_V)], label_V, reduction="none").double()
        member_GV = self.member_GV[:, : len(val_V)]
        self.base_G = (member_GV @ loss_V / member_GV.sum(1)).numpy()

    def distance_G(self, logits_VC: Tensor) -> np.ndarray:
        """Nats, a mean over each group's images: KL(teacher ∥ network) at temperature 1."""
        ours_VC, theirs_VC = F.log_softmax(logits_VC.float(), -1), F.log_softmax(self.teacher_VC, -1)
        kl_V = F.kl_div(ours_VC, theirs_VC, log_target=True, reduction="none").sum(-1).double()
        return (self.member_GV @ kl_V / self.member_GV.sum(1)).numpy()
