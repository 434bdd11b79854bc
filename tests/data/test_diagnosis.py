"""How settings of a config decide on the severity of a finding."""

from querydet.data.diagnosis import CHANGES, NOTE, STOPS, Diagnosis, Treatment


def test_places_of_one_kind_are_one_finding_and_the_worst_decides():
    diagnosis = Diagnosis("x")
    diagnosis.add(NOTE, "odd", "nothing", "a")
    diagnosis.add(NOTE, "odd", "nothing", "b")
    assert diagnosis.findings["odd"].places == ["a", "b"]
    assert not diagnosis.stops
    diagnosis.add(STOPS, "wrong", "stops", "a")
    assert diagnosis.stops


def test_bad_images_stop_unless_they_are_skipped():
    assert Treatment().bad_image()[0] == Treatment().missing_image()[0] == STOPS
    skipping = Treatment(on_bad_image="skip", check_files=False, training=False)
    assert skipping.bad_image() == skipping.missing_image()
    assert skipping.bad_image()[0] == CHANGES
    assert Treatment(on_bad_image="skip").missing_image()[0] == STOPS
