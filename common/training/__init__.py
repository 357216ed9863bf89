"""Supervised training: the step and the loop, the plain classifier, augmentation, checkpoints."""
