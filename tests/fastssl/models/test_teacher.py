from collections import OrderedDict

import numpy as np
import torch
from torch import nn

from fastssl.models.teacher import Teacher, update_averages


def student() -> nn.Sequential:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
    return nn.Sequential(OrderedDict(encoder=trunk, predictor=nn.Linear(4, 2)))


def test_teacher_is_an_average_of_the_parameters_alone() -> None:
    pupil = student().to(memory_format=torch.channels_last)
    teacher = Teacher.of(pupil[:1])
    expected = {name: p.detach().double().numpy().copy() for name, p in teacher.named_parameters()}
    for momentum in (0.0, 0.3, 0.99, 1.0):
        for parameter in pupil.parameters():
            nn.init.normal_(parameter)
        pupil.get_buffer("encoder.1.running_mean").normal_()
        before = {name: buffer.clone() for name, buffer in teacher.named_buffers()}
        update_averages([(teacher, pupil, momentum)])
        for name, source in pupil.named_parameters():
            if name in expected:
                expected[name] = momentum * expected[name] + (1 - momentum) * source.detach().double().numpy()
                value = dict(teacher.named_parameters())[name].detach().numpy()
                np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6)
        assert len(before) == 3
        for name, buffer in teacher.named_buffers():
            assert torch.equal(buffer, before[name])


def test_teacher_shares_nothing_with_its_student_and_takes_no_gradients() -> None:
    pupil = student()
    teacher = Teacher.of(pupil)
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in pupil.parameters())
    weight = teacher.get_parameter("predictor.weight").clone()
    with torch.no_grad():
        pupil.get_parameter("predictor.weight").add_(1)
    assert torch.equal(teacher.get_parameter("predictor.weight"), weight)
