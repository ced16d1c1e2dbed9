"""What tests of the trainer share."""

import pytest
import torch


@pytest.fixture
def one_thread():
    """Sums depend on the number of threads; child processes have one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
