"""C45: a model that takes ten times as long as it does is said."""

from __future__ import annotations

from dicom_node.services.pace import Pace


def test_c45_an_image_of_more_than_ten_times_the_median_is_an_alert_and_no_other():
    pace = Pace()
    assert [pace.alert(900.0)] + [pace.alert(50.0) for _ in range(9)] == [None] * 10
    assert pace.alert(500.0) is None
    assert pace.alert(501.0) == "the model took 501 ms for this image, 50 ms is usual; look at the device's load"


def test_the_first_images_are_no_measure_yet():
    pace = Pace()
    assert [pace.alert(taken) for taken in (1.0, 1.0, 5000.0)] == [None] * 3


def test_a_device_that_stays_slow_is_usual_in_the_end():
    pace = Pace()
    alerts = [pace.alert(taken) for taken in [10.0] * 100 + [1000.0] * 100]
    assert alerts[100] is not None
    assert alerts[-1] is None
