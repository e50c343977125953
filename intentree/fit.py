"""`intentree fit`: fit the declared model, save it, and say how good it is."""

from __future__ import annotations

from intentree.options import ArtifactOption, StudyFile
from intentree.toml_file import read_config


def fit(study: StudyFile, artifact: ArtifactOption = None) -> None:
    """Fit the model and save it as an artifact.

    Boosting stops early on the valid examples, where there are any. Prints metrics on valid and test examples with
    95 % intervals, the groups of columns, how the text head enters and why, rounds, devices and times.
    """
    config = read_config(study)
    from intentree.inputs import declared_model, read_events, read_examples, read_train
    from intentree.outputs import require_artifact_place
    from intentree.printing import print_lines
    from intentree.progress import shown_progress
    from intentree.quality import print_groups, print_quality, require_usable

    config.require("examples", "model")
    target = artifact or config.output.artifact
    require_artifact_place(target)
    train, valid, test = read_train(config), read_examples(config, "valid"), read_examples(config, "test")
    model = declared_model(config, train.y)
    judged = {name: part for name, part in (("valid", valid), ("test", test)) if part}
    for name, part in judged.items():
        require_usable(model, train, part, name)
    with shown_progress() as progress:
        model.fit(
            train.frame,
            train.y,
            events=read_events(config),
            eval_set=None if valid is None else (valid.frame, valid.y),
            groups=train.groups,
            sample_weight=train.weight,
            progress=progress,
        )
    model.save(target)
    if judged:
        print_quality(model, judged, config.report.get("groups_of_rows"))
    print_groups(model)
    steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in model.timings_.items())
    devices = ", ".join(f"{step} on {device}" for step, device in model.devices_.items() if device)
    if model.channels().head is not None:
        print_lines(f"text head: {model.head_.mode or 'none'} ({model.head_.reason})")
    print_lines(
        f"{train.frame.height:,} rows, {model.booster} with {model.booster_.best_iteration:,} rounds; {devices}; {steps}",
        f"artifact: {target}",
    )
