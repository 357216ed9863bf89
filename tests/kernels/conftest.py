"""What tests of the kernels have besides."""

import pytest


@pytest.fixture
def unchecked():
    """What has the wrong type on purpose gets past the annotations, to the door behind them."""
    try:
        import jaxtyping
    except ImportError:
        yield
        return
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
