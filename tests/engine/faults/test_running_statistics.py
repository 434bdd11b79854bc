"""Statistics of batch norms in steps that are left out."""

import torch
from torch import nn

from querydet.engine.faults.running_statistics import RunningStatistics


def test_a_step_that_is_left_out_leaves_no_trace_in_norms():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    statistics = RunningStatistics(model)
    model(torch.rand(2, 3, 4, 4))
    before = [buffer.clone() for buffer in model.buffers()]
    statistics.keep()
    model(torch.full((2, 3, 4, 4), torch.nan))
    assert not model[1].running_mean.isfinite().all()
    statistics.restore()
    assert all(map(torch.equal, before, model.buffers()))
