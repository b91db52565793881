"""Transfer: networks of dense tasks, trained from an encoder on labeled data of their own.

A task is a ``Task`` of its own, in a module that is imported when it is asked for.
"""

TASKS = {  # name: module and class
    "classification": "fastssl.transfer.tasks.classification:Classification",
    "pose": "fastssl.transfer.tasks.pose:Pose",
    "segmentation": "fastssl.transfer.tasks.segmentation:Segmentation",
    "depth": "fastssl.transfer.tasks.depth:Depth",
}
