"""Damaged text files: requests, taxonomies, templates, lists of classes, tables."""

from __future__ import annotations

import json
from typing import Any

import yaml

from hostile.case import Bench, Case
from hostile.mutate import NASTY, Raw, dump_json, mutate_bytes, mutate_value, odd_value


def _yaml(value: Any) -> str:
    """YAML with whatever is in the value; JSON where YAML refuses."""
    try:
        return yaml.safe_dump(value, allow_unicode=True)
    except (yaml.YAMLError, ValueError, UnicodeEncodeError):
        return dump_json(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(child) for key, child in value.items()}
    return [_plain(child) for child in value] if isinstance(value, list) else value


def hostile_yaml(bench: Bench) -> tuple[str, str]:
    """YAML that would run code, grow without an end, or refer to itself."""
    canary = str(bench.canary)
    laughs = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    laughs += [
        f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    return bench.rng.choice(
        [
            (f"concept: !!python/object/apply:os.system ['touch {canary}']\n", "a tag that runs"),
            (
                "!!python/object/apply:pathlib.Path.touch "
                f"[!!python/object/apply:pathlib.PosixPath ['{canary}']]\n",
                "a tag that runs",
            ),
            (f"? !!python/name:os.system\n: touch {canary}\n", "a tag that names a function"),
            ("\n".join((*laughs, "")), "a billion laughs"),
            ("concept: &a [*a]\n", "a list within itself"),
            ("&a {dog: *a}\n", "a mapping within itself"),
            ("{" * 5000, "braces without an end"),
            ("[" * 3000 + "]" * 3000, "3,000 lists in each other"),
            ("\n".join("  " * n + f"a{n}:" for n in range(1500)), "1,500 levels"),
            ("concept: beagle\nconcept: pug\n", "a key twice"),
            ("--- a\n--- b\n", "two documents"),
            ("\x00\x00", "NUL bytes"),
            ("a: '" + "\x1b]0;owned" + "'\n", "an escape"),
            ('"\\u202e": "\\e[2J"\n', "escapes in key and value"),
            ("? [a, b]\n: c\n", "a list as a key"),
            ("? {a: b}\n: c\n", "a mapping as a key"),
            (".nan: .inf\n", "NaN as a key"),
            ("concept: 2024-13-45\n", "a date that is none"),
            ("concept: 0x" + "f" * 5000 + "\n", "a number of 5,000 digits"),
            ("concept: 1:" + ":".join(["59"] * 500) + "\n", "a number to the base of 60"),
            ("concept: !!binary x\n", "binary that is none"),
            ("concept: !!int text\n", "a tag that does not fit"),
            ("concept: !!timestamp 2024-99-99\n", "a timestamp that is none"),
            ("concept: !!float ''\n", "an empty number"),
            ("<<: 5\n", "a merge with a number"),
            ("%YAML 9.9\n---\na: b\n", "another YAML"),
        ]
    )


def _damaged(bench: Bench, good: dict[str, Any]) -> tuple[bytes | str, str]:
    """A YAML document with one value replaced, a hostile one, or one with odd bytes; and what was
    done, in words."""
    rng = bench.rng
    how = rng.random()
    if how < 0.55:
        value, told = mutate_value(rng, good)
        return dump_json(value) if rng.random() < 0.5 else _yaml(_plain(value)), told
    if how < 0.8:
        return hostile_yaml(bench)
    return mutate_bytes(rng, _yaml(good).encode())


def request(bench: Bench) -> Case:
    """A request file."""
    rng, world = bench.rng, bench.world
    root = str(world.root)
    good: dict[str, Any] = {
        "concept": ["beagle"],
        "model": f"local-dir:{root}/model",
        "data": f"{root}/images",
        "taxonomy": f"{root}/pets.yaml",
        "target": 0.05,
        "floor": {"retain_fine": 0.5},
        "also": {"photos": f"{root}/images"},
        "seed": 0,
        "trials": 2,
        "batch_size": 16,
        "workers": 0,
        "tower": "language",
        "gradient_images": 4,
        "force": True,
        "asked_by": "somebody",
        "layer": "text_projection",
        "step": 0.1,
    }
    text, told = _damaged(bench, good)
    path = bench.write("odd-request.yaml", text)
    words = ["apply", "--request", str(path), *rng.choice([["--dry-run"], ["--run", "run"]])]
    if rng.random() < 0.2:
        words = ["grads", "--request", str(path), "--run", "run"]
    return Case(f"request, {told}", words, "that runs" in told, ["odd-request.yaml"])


def taxonomy(bench: Bench) -> Case:
    """A taxonomy file."""
    rng, world = bench.rng, bench.world
    good: dict[str, Any] = {
        "$name": "pets",
        "$templates": ["a photo of a {}", "one {}"],
        "dog": {"beagle": {"$aliases": ["sniffer"], "$index": 0, "$id": "n1"}, "pug": None},
        "cat": {
            "$plural": "cats",
            "$definition": "it purrs",
            "tabby": {"$prompts": ["a tabby"]},
            "siamese": None,
        },
    }
    text, told = _damaged(bench, good)
    path = str(bench.write("odd-tree.yaml", text))
    words = rng.choice(
        [
            ["concepts", "--taxonomy", path],
            ["concepts", "--json", "--taxonomy", path],
            ["concepts", "--taxonomy", path, "beagle"],
            ["evaluate", *world.model, *world.data, *world.quick, "--taxonomy", path],
            [
                "apply",
                "--concept",
                "beagle",
                "--dry-run",
                *world.model,
                *world.data,
                "--taxonomy",
                path,
            ],
        ]
    )
    return Case(
        f"taxonomy, {told}", words, "that runs" in told, ["odd-tree", "taxonomy", "class", "beagle"]
    )


def templates(bench: Bench) -> Case:
    """A file of prompt templates, or of classes: text and no code."""
    rng, world = bench.rng, bench.world
    canary = str(bench.canary)
    code = f"__import__('pathlib').Path({canary!r}).touch()"
    lines = [
        "a photo of a {}",
        "{}",
        "",
        "no hole",
        "{} {}",
        "{0}",
        "{x}",
        "{0.__class__}",
        "{!r:>99999}",
        "{:999999999}",
        "%s",
        "x" * 100_000 + " {}",
        f"lambda c: {code}",
        f"[lambda c: {code}]",
        f"templates = [lambda c: f'{{c}}', {code}]",
        "日本 {}",
        "\ud800 {}",
        "[",
        "('a {}',)",
        *(f"{each} {{}}" for each in NASTY),
    ]
    text: bytes | str = "\n".join(rng.choices(lines, k=rng.choice((1, 1, 2, 5))))
    told = f"templates {ascii(text)[:50]}"
    if rng.random() < 0.2:
        text, told = mutate_bytes(rng, (world.root / "templates.txt").read_bytes())
    if rng.random() < 0.5:
        path = str(bench.write("odd-templates.txt", text))
        words = ["evaluate", *world.all, "--templates", path]
    else:
        path = str(bench.write("odd-classes.txt", text))
        words = ["grads", "--forget", str(world.root / "forget.tar"), "--retain"]
        words += [
            str(world.root / "retain.tar"),
            "--name",
            "beagle",
            "--classes",
            path,
            "--run",
            "run",
        ]
        words += [*world.model, *world.quick, "--no-cache"]
    return Case(told, words, names=["odd-", "template", "class", "beagle", "retain"])


def table(bench: Bench) -> Case:
    """A table of pairs."""
    rng, world = bench.rng, bench.world
    bench.copy("images", "images")
    kind = rng.choice(("csv", "tsv", "jsonl"))
    data = (world.root / f"pairs.{kind}").read_bytes()
    how = rng.random()
    if how < 0.35:
        data, told = mutate_bytes(rng, data)
    elif kind == "jsonl":
        rows = [json.loads(line) for line in data.splitlines()]
        told = ""
        for index in rng.sample(range(len(rows)), 5):
            rows[index], told = mutate_value(rng, rows[index])
        data = "\n".join(dump_json(row) for row in rows).encode()
    else:
        separator = "," if kind == "csv" else "\t"
        lines = data.decode().splitlines()
        told = "odd fields"
        for index in (rng.randrange(len(lines)), *rng.sample(range(len(lines)), 5)):
            fields = lines[index].split(separator)
            odd = odd_value(rng)
            fields[rng.randrange(len(fields))] = str(odd)[:200_000]
            if rng.random() < 0.3:
                fields.append(rng.choice(('"', "x", "'")))
            lines[index] = separator.join(fields)
        data = "\n".join(lines).encode("utf-8", "surrogatepass")
    path = str(bench.write(f"odd-pairs.{kind}", data))
    words = rng.choice(
        [
            ["select", "--source", path, "--match", "photo"],
            ["select", "--json", "--source", path, "--match", "beagle"],
            ["select", "--source", path, "--match", "photo", "--out", "chosen.tar"],
            [
                "grads",
                "--forget",
                path,
                "--retain",
                str(world.root / "retain.tar"),
                "--name",
                "beagle",
                "--classes",
                str(world.root / "classes.txt"),
                "--run",
                "run",
                "--no-cache",
                *world.model,
                *world.quick,
            ],
        ]
    )
    return Case(
        f"table, {kind}, {told}",
        words,
        names=["odd-pairs", "beagle", "caption", "forget", "retain"],
    )


KINDS = {
    "request": request,
    "taxonomy": taxonomy,
    "templates": templates,
    "table": table,
}
