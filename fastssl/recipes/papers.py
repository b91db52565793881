"""Titles of the papers that several families of recipes reproduce."""

EQCO = "EqCo: equivalent rules for self-supervised contrastive learning (2020)"
REVISITED = "Revisiting the critical factors of augmentation-invariant representation learning (2022)"
