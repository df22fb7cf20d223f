"""Batches split over optimisation profiles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.errors import BackendError
from sdk.runtime.profiles import Part, Profile, split

FACE = (3, 16, 16)


def batches(*ranges):
    return [Profile(i, (low, *FACE), (high, *FACE)) for i, (low, high) in enumerate(ranges)]


def test_the_smallest_profile_that_fits():
    profiles = batches((1, 64), (1, 1), (1, 8))
    for N, index in ((1, 1), (2, 2), (8, 2), (9, 0), (64, 0)):
        assert split((N, *FACE), profiles) == [Part(profiles[index], 0, N, N)]


def test_above_the_largest_profile_in_parts():
    profiles = batches((1, 1), (1, 8))
    assert split((17, *FACE), profiles) == [
        Part(profiles[1], 0, 8, 8),
        Part(profiles[1], 8, 8, 8),
        Part(profiles[0], 16, 1, 1),
    ]


def test_a_profile_that_takes_no_batch_as_small_gets_rows_to_throw_away():
    fixed, loose = batches((8, 8), (4, 16))
    assert split((3, *FACE), [fixed]) == [Part(fixed, 0, 3, 8)]
    assert split((3, *FACE), [fixed, loose]) == [Part(loose, 0, 3, 4)]


def test_faces_of_another_size_use_the_profiles_of_that_size():
    small = Profile(0, (1, 3, 16, 16), (64, 3, 16, 16))
    large = Profile(1, (1, 3, 32, 32), (4, 3, 64, 64))
    assert [part.profile.index for part in split((5, 3, 48, 64), [small, large])] == [1, 1]
    with pytest.raises(BackendError) as caught:
        split((1, 3, 24, 32), [small, large])
    assert caught.value.expected == "faces of 3 x 16 x 16 or 3 x 32..64 x 32..64"
    assert caught.value.got == "3 x 24 x 32" and "trt-build" in caught.value.remedy


@given(
    N=st.integers(1, 300),
    ranges=st.lists(st.tuples(st.integers(1, 70), st.integers(0, 70)), min_size=1, max_size=4),
)
def test_parts_cover_the_batch_once_and_fit_their_profiles(N, ranges):
    profiles = batches(*((low, low + more) for low, more in ranges))
    parts = split((N, *FACE), profiles)
    assert [face for part in parts for face in range(part.start, part.start + part.count)] == list(range(N))
    for part in parts:
        assert part.count <= part.rows
        assert part.profile.smallest[0] <= part.rows <= part.profile.largest[0]
    assert len(parts) == -(-N // max(profile.largest[0] for profile in profiles))
