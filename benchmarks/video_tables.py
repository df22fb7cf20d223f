"""The table of benchmarks.clip_check's results, for docs/VIDEO.md."""

import json
from pathlib import Path

FILE = "video.json"


def video(results: Path) -> str:
    """Clips, steadiness and soak; says what is missing while nothing was measured."""
    path = results / FILE
    if not path.is_file():
        return "Not measured yet: `python -m benchmarks.clip_check`."
    found = json.loads(path.read_text(encoding="utf-8"))
    lines = [
        "| clip | frames in, out | frames a second | largest gap of picture and sound | memory at half, at the end |",
        "| --- | --- | --- | --- | --- |",
    ]
    for clip in found["clips"]:
        height, width = clip["frame_hw"]
        gap = f"{1000 * clip['largest_gap_s']:.0f} ms (a frame: {1000 * clip['frame_s']:.0f} ms)"
        lines.append(
            f"| {clip['seconds']} s, {width}x{height}, {clip['faces']} faces, `{' '.join(clip['arguments'])}` "
            f"| {clip['frames_in']}, {clip['frames_out']} | {clip['frames_per_s']:.1f} | {gap} "
            f"| {clip['memory_half_mib']:.0f}, {clip['memory_end_mib']:.0f} MiB |"
        )
    steady, soak = found["steadiness"], found["soak"]
    lines += [
        "",
        f"A still face under noise: points jump {steady['jitter_single_px']:.3f} px from frame to frame by themselves, "
        f"{steady['jitter_stream_px']:.3f} px in a stream ({steady['jitter_ratio']:.1f} times less); temporal PSNR "
        f"of the face's picture {steady['flicker_single_db']:.1f} and {steady['flicker_stream_db']:.1f} dB.",
        "",
        f"{soak['frames']:,} small frames: {soak['given']:,} given, {soak['dropped']} dropped, memory "
        f"{soak['early']['memory_mib']:.1f} MiB after a tenth and {soak['end']['memory_mib']:.1f} MiB at the end, "
        f"open files {soak['early']['files']} and {soak['end']['files']}, drift of times {soak['drift_s']:.1g} s.",
        "",
        f"`{found['command']}`, {found['machine']['cpus']} CPUs, load {found['machine']['load']} at the start.",
    ]
    return "\n".join(lines)
