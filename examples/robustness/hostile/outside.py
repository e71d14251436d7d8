"""What comes from outside of files: words on the command line, and surroundings."""

from __future__ import annotations

from hostile.case import Bench, Case
from hostile.mutate import NASTY
from hostile.world import World

VALUES = (
    "",
    " ",
    "0",
    "-1",
    "-0",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1e-400",
    "1" + "0" * 30,
    "-" + "9" * 30,
    "0x10",
    "1_000",
    "٣",
    "½",
    "1,5",
    "true",
    "None",
    "~",
    ".",
    "..",
    "/",
    "//",
    "/dev/null",
    "-",
    "--",
    "-h",
    "=",
    "=x",
    "x=",
    "a=b=c",
    ":",
    "::",
    "{}",
    "{0..9}",
    "*",
    "%s",
    "$(id)",
    "`id`",
    "x" * 5000,
    "x" * 300,
    "日本語",
    "é",
    "\udcff",
    "a\udc80b",
    "nowhere/nothing",
    "~nobody/x",
    "pipe:",
    "pipe:false",
    "http://127.0.0.1:1/x.tar",
    "hf-hub:",
    "local-dir:",
    "file:///etc/passwd",
    *(each.replace("\x00", "") for each in NASTY),
)
CANNOT = frozenset({"nan", "inf", "-inf", "1e400", "x" * 5000, "日本語", "½", "None", "true", "-1"})

OPTIONS = {
    "apply": (
        "--concept --model --pretrained --data --taxonomy --templates --seed --also "
        "--gradient-images --search-images --test-images --forget-loss --retain-loss "
        "--contrastive-batch --gradient-precision --direction --search --target --floor "
        "--tower --layer --step --trials --device --precision --batch-size --workers "
        "--activation-memory --run --save-model --request --forget --retain --name --parent "
        "--classes --asked-by --reason --cache-dir"
    ),
    "evaluate": (
        "--patch --concept --model --pretrained --data --taxonomy --templates --seed --also "
        "--test-images --device --precision --batch-size --workers --format --floor --search-images"
    ),
    "select": "--source --match --out --show",
    "concepts": "--data --taxonomy TEXT",
    "patch apply": "FILE MODEL --out --scale",
    "patch show": "FILE",
    "patch revert": "FILE MODEL --out --scale",
    "pareto": "--run",
    "menagerie sheet": "--out --seed",
    "menagerie check": "--model --per-leaf --seed",
}
NUMBERS = frozenset(
    "--seed --gradient-images --search-images --test-images --contrastive-batch --target --step "
    "--trials --batch-size --workers --show --scale --per-leaf".split()
)


def words(bench: Bench) -> Case:
    """One odd value on an otherwise good command line."""
    rng, world = bench.rng, bench.world
    command = rng.choice(list(OPTIONS))
    name, value = rng.choice(OPTIONS[command].split()), rng.choice(VALUES)
    root = world.root
    good: dict[str, list[str]] = {
        "apply": ["--concept", "beagle", "--dry-run", *world.all],
        "evaluate": world.all,
        "select": ["--source", str(root / "pairs.csv"), "--match", "photo"],
        "concepts": [],
        "patch apply": [str(world.patch), str(root / "model"), "--out", "out"],
        "patch show": [str(world.patch)],
        "patch revert": [str(world.patch), str(root / "patched"), "--out", "out"],
        "pareto": ["--fast"],
        "menagerie sheet": ["--out", "sheet.png"],
        "menagerie check": ["--per-leaf", "1"],
    }
    line = list(good[command])
    if name in line:
        line[line.index(name) + 1] = value
    elif name.startswith("--"):
        line += [name, value]
    elif name == "TEXT":
        line.append(value)
    else:
        line[["FILE", "MODEL"].index(name)] = value
    bad = name in NUMBERS and value in CANNOT and not (name == "--step" and value == "-1")
    bad = bad and not (name == "--scale" and value == "-1")
    names = [
        name,
        name.strip("-").replace("-", " "),
        ascii(value)[1:-1][:20],
        value.replace("//", "/")[:20] or "empty",
    ]
    title = f"words, {command} {name} {ascii(value)[:40]}"
    return Case(title, [*command.split(), *line], bad, names)


LONG = "x" * 5000
VARIABLES = {
    "RANK": ("1", "-1", "x", ""),
    "WORLD_SIZE": ("2", "0", "x", "-1"),
    "LOCAL_RANK": ("7", "x"),
    "MPLBACKEND": ("nothing", "", "module://odd", "TkAgg"),
    "LANG": ("C", "xx_YY", ""),
    "LC_ALL": ("C", "POSIX", "xx", "en_US.ISO-8859-1"),
    "COLUMNS": ("0", "-5", "x", "1", "99999999999"),
    "TMPDIR": ("/nowhere", "", "/proc", LONG),
    "HOME": ("", "/nowhere", "relative"),
    "XDG_CACHE_HOME": ("/nowhere", "relative", "/proc", "/dev/null", LONG),
    "SLSGU_CACHE_DIR": ("/nowhere/x", "", "/dev/null", "/proc/x", LONG, "\x1b[2J"),
    "OMP_NUM_THREADS": ("0", "x", "-3"),
    "PYTHONIOENCODING": ("ascii", "nothing"),
    "TERM": ("dumb", "", "x"),
    "NO_COLOR": ("1",),
    "CUDA_VISIBLE_DEVICES": ("x", "99"),
    "MASTER_ADDR": ("nowhere",),
    "TZ": ("nowhere",),
    "PYTHONUTF8": ("0", "1"),
    "HF_HUB_OFFLINE": ("x",),
    "TORCH_HOME": ("/dev/null",),
}
SHELLS = (
    '"$@" >&-',
    '"$@" 2>&-',
    '"$@" >&- 2>&-',
    '"$@" <&-',
    '"$@" > /dev/full',
    '"$@" 2> /dev/full',
    '"$@" | head -c 1',
    'mkdir gone && cd gone && rmdir ../gone && exec "$@"',
    'ulimit -f 1; "$@"',
    'ulimit -n 16; "$@"',
    'ulimit -s 256; "$@"',
    'ulimit -v 3000000; "$@"',
    'umask 777; "$@"',
    'chmod 555 .; "$@"; code=$?; chmod 755 .; exit $code',
    'nohup "$@" < /dev/zero',
)
MODULES = (
    "numpy",
    "torch",
    "PIL",
    "yaml",
    "json",
    "random",
    "click",
    "slsgu",
    "pickle",
    "sitecustomize",
    "usercustomize",
    "transformers",
    "webdataset",
    "timm",
    "string",
)


def surroundings(bench: Bench) -> Case:
    """The program itself, where the environment is not as usual."""
    rng = bench.rng
    line = rng.choice(_commands(bench.world))
    how = rng.random()
    if how < 0.5:
        chosen = rng.sample(list(VARIABLES), rng.choice((1, 1, 2, 3)))
        env: dict[str, str | None] = {name: rng.choice(VARIABLES[name]) for name in chosen}
        told = ", ".join(f"{name}={ascii(value)[:20]}" for name, value in env.items())
        return Case(f"surroundings, {told}: {' '.join(line[:2])}", line, env=env, real=True)
    if how < 0.85:
        shell = rng.choice(SHELLS)
        codes = frozenset({0, 1, 2, 141}) | ({126, 127, 134, 139} if "ulimit" in shell else set())
        title = f"surroundings, {shell}: {' '.join(line[:2])}"
        return Case(title, line, real=True, shell=shell, codes=frozenset(codes))
    return _modules(bench, line)


def _commands(world: World) -> list[list[str]]:
    """One command line of each kind."""
    return [
        ["concepts"],
        ["concepts", "--json", "dog"],
        ["patch", "show", str(world.patch)],
        ["patch", "apply", str(world.patch), str(world.root / "model"), "--out", "out"],
        ["cache", "list"],
        ["evaluate", *world.all],
        ["--help"],
        ["--version"],
        [
            "select",
            "--source",
            str(world.root / "forget.tar"),
            "--match",
            "beagle",
            "--out",
            "c.tar",
        ],
        [
            "apply",
            "--concept",
            "beagle",
            "--run",
            "run",
            "--tower",
            "language",
            "--trials",
            "1",
            "--force",
            *world.all,
        ],
        ["menagerie", "check", "--per-leaf", "9"],  # the fewest that start other processes
    ]


def _modules(bench: Bench, words: list[str]) -> Case:
    """Modules in the working directory, with the names of those that slsgu imports."""
    code = f"import pathlib\npathlib.Path({str(bench.canary)!r}).touch()\n"
    for module in MODULES:
        bench.folder.joinpath(f"{module}.py").write_text(code, encoding="utf-8")
    return Case(f"surroundings, modules in the folder: {' '.join(words[:2])}", words, real=True)


KINDS = {"words": words, "surroundings": surroundings}
