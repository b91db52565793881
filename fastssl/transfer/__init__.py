"""Transfer: networks of dense tasks, trained from an encoder on labeled data of their own.

A task is a ``Task`` of its own, in a module that is imported when it is asked for.
"""

TASKS = {  # name: module and class
    "classification": "fastssl.transfer.tasks.classification:Classification",
    "pose": "fastssl.transfer.tasks.classification:Pose",
    "segmentation": "fastssl.transfer.tasks.pixels:Segmentation",
    "depth": "fastssl.transfer.tasks.pixels:Depth",
    "voc07-c4": "fastssl.transfer.tasks.voc:Voc07C4",
    "voc0712-c4": "fastssl.transfer.tasks.voc:Voc0712C4",
    "coco-c4": "fastssl.transfer.tasks.coco:CocoC4",
    "coco-fpn": "fastssl.transfer.tasks.coco:CocoFpn",
    "coco-fpn-msbreg": "fastssl.transfer.tasks.coco:CocoFpnMSBReg",
    "coco-fpn-simo": "fastssl.transfer.tasks.coco:CocoFpnSiMo",
    "cityscapes-deeplab": "fastssl.transfer.tasks.cityscapes:CityscapesDeepLab",
    "scenes-detection": "fastssl.transfer.tasks.scenes:ScenesDetection",
    "scenes-segmentation": "fastssl.transfer.tasks.scenes:ScenesSegmentation",
}
