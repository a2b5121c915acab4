"""Node.js under policies/node.textproto: the same output as without a sandbox; what it tries beyond ends the run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade import Executor, Policy
from support.programs import POLICIES, Done, Runner, outside, through_api

# A module of WebAssembly with one function, which adds two numbers.
_WASM = "0061736d0100000001070160027f7f017f030201000707010361646400000a09010700200020016a0b"

# Each works on data of its own and prints what it found.
SCRIPTS = {
    "language": """
class Pair { #a = 1; get sum() { return this.#a + [...'ab'].length } }
const [x, ...rest] = [3, 1, 2].sort();
console.log(JSON.stringify({x, rest, sum: new Pair().sum, big: 2n ** 70n + ''}), 'äöü'.normalize('NFD').length);
""",
    "compiled code": """
function sum(n) { let total = 0; for (let i = 0; i < n; i++) total += i % 7; return total }
let total = 0;
for (let i = 0; i < 300; i++) total += sum(10000);
console.log(total, new Function('a', 'return a * 2')(21));
""",
    "web assembly": f"""
WebAssembly.instantiate(Buffer.from('{_WASM}', 'hex')).then(m => console.log(m.instance.exports.add(40, 2)));
""",
    "hashes and keys": """
const c = require('crypto');
const {publicKey, privateKey} = c.generateKeyPairSync('ec', {namedCurve: 'P-256'});
const signature = c.sign('sha256', Buffer.from('x'), privateKey);
console.log(c.createHash('sha256').update('x').digest('hex'), c.scryptSync('a', 'b', 16).toString('hex'),
  c.verify('sha256', Buffer.from('x'), publicKey, signature), c.randomBytes(8).length);
""",
    "compression": """
const z = require('zlib');
console.log(z.gunzipSync(z.gzipSync('text')) + '', z.brotliDecompressSync(z.brotliCompressSync('text')) + '');
z.deflate('x'.repeat(1e6), (error, data) => console.log(error, z.inflateSync(data).length));
""",
    "promises and timers": """
const {setTimeout: pause} = require('timers/promises');
(async () => {
  console.log(await Promise.all([pause(2, 'slow'), pause(1, 'quick'), Promise.resolve('now')]));
  setImmediate(() => console.log('immediate'));
  process.nextTick(() => console.log('tick'));
})();
""",
    "worker threads": """
const {Worker} = require('worker_threads');
const shared = new Int32Array(new SharedArrayBuffer(4));
const work = `const {workerData, parentPort} = require('worker_threads');
  Atomics.add(workerData, 0, 1); parentPort.postMessage('done')`;
Promise.all([1, 2, 3, 4].map(() => new Promise((resolve, reject) => {
  new Worker(work, {eval: true, workerData: shared}).on('message', resolve).on('error', reject);
}))).then(found => console.log(found, shared[0]));
""",
    "thread pool": """
const crypto = require('crypto'), fs = require('fs');
const key = n => new Promise(resolve => crypto.pbkdf2('p', 's' + n, 100, 8, 'sha1', (error, key) => resolve(key)));
const keys = [...Array(8).keys()].map(key);
Promise.all([...keys, fs.promises.readFile(process.execPath).then(data => data.length > 1e4)])
  .then(found => console.log(found.join(' ')));
""",
    "files": """
const fs = require('fs'), path = require('path');
const directory = fs.mkdtempSync('/tmp/test-');
process.chdir(directory);
fs.writeFileSync('a', 'text'); fs.appendFileSync('a', ' and more'); fs.copyFileSync('a', 'b'); fs.renameSync('b', 'c');
fs.truncateSync('c', 4); fs.chmodSync('c', 0o600); fs.utimesSync('c', 1, 2); fs.mkdirSync('d/e', {recursive: true});
const {size, mode, mtimeMs} = fs.statSync('c');
console.log(fs.readFileSync('a', 'utf8'), fs.readdirSync('.'), size, mode, mtimeMs, fs.existsSync('b'));
console.log(path.basename(fs.realpathSync('d/e')), fs.accessSync('a'));
fs.rmSync(directory, {recursive: true});
console.log(fs.existsSync(directory));
""",
    "streams": """
const fs = require('fs'), zlib = require('zlib'), {pipeline} = require('stream/promises');
const packed = `/tmp/packed-${process.pid}-${process.hrtime.bigint()}`;
const source = fs.createReadStream('/usr/bin/node', {end: 9999});
pipeline(source, zlib.createGzip(), fs.createWriteStream(packed))
  .then(() => { console.log(zlib.gunzipSync(fs.readFileSync(packed)).length); fs.unlinkSync(packed) });
""",
    "process and system": """
const os = require('os');
console.log(typeof process.memoryUsage().rss, process.cpuUsage().user > 0, process.resourceUsage().maxRSS > 0);
console.log(os.platform(), os.totalmem() > 0, os.loadavg().length, os.uptime() > 0, process.pid > 0, process.umask());
console.log(process.env, process.argv.length, os.EOL === '\\n', os.getPriority() >= -20);
""",
    "signals": """
const waiting = setInterval(() => {}, 1000);
process.once('SIGUSR2', () => { console.log('woken'); clearInterval(waiting) });
process.kill(process.pid, 'SIGUSR2');
""",
    "dates": """
const format = new Intl.DateTimeFormat('de', {timeZone: 'Europe/Paris', dateStyle: 'full', timeStyle: 'long'});
console.log(format.format(0), new Date(0), new Date(0).toString());
""",
    "exception": "function f() { null.x }\nf()",
    "rejection": "Promise.reject(new Error('lost'))",
    "exit code": "process.exitCode = 7",
}

# Each prints "a …" when nothing stops it.
ATTEMPTS = {
    "shell": "console.log(require('child_process').execSync('echo a shell').toString())",
    "program": "require('child_process').execFile('/bin/echo', ['a', 'program'], (e, out) => console.log(out))",
    "program with inherited streams": """
const done = require('child_process').spawnSync('/bin/echo', ['a', 'program'], {stdio: 'inherit'});
if (done.error) throw done.error
""",
    "detached process": """
require('child_process').spawn('/bin/sleep', ['0'], {detached: true, stdio: 'ignore'});
console.log('a process')
""",
    "connection": "require('net').connect(9, '127.0.0.1').on('error', e => console.log('a socket', e.code))",
    "server": """
const server = require('http').createServer().listen(0, '127.0.0.1', () => { console.log('a server'); server.close() })
""",
    "datagram": "const s = require('dgram').createSocket('udp4').bind(0, () => { console.log('a socket'); s.close() })",
    "fetch": "fetch('http://127.0.0.1:49151/').catch(e => console.log('a socket', e.cause.code))",
    "symbolic link": """
const fs = require('fs'), name = '/tmp/link-' + process.pid;
fs.symlinkSync('/etc/passwd', name); fs.unlinkSync(name); console.log('a link')
""",
    "watch": "require('fs').watch('/tmp').close(); console.log('a watch')",
    "priority": "require('os').setPriority(19); console.log('a priority')",
    "inspector": "require('inspector').open(0, '127.0.0.1'); console.log('a port'); process.exit()",
}
REFUSED = {
    "shell": {"socketpair", "clone", "vfork", "fork"},
    "program": {"socketpair", "clone", "vfork", "fork"},
    "program with inherited streams": {"clone", "vfork", "fork"},
    "detached process": {"clone", "vfork", "fork"},
    "connection": {"socket"},
    "server": {"socket"},
    "datagram": {"socket"},
    "fetch": {"socket"},
    "symbolic link": {"symlink", "symlinkat"},
    "watch": {"inotify_init1"},
    "priority": {"setpriority"},
    "inspector": {"socket"},
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_from_the_command_line(name: str) -> None:
    argv = ["node", "-e", SCRIPTS[name]]
    found, expected = through_api("node", argv), outside(argv)
    assert (found.status, found.stdout) == (expected.status, expected.stdout)
    assert _without_places(found.stderr) == _without_places(expected.stderr)


def _without_places(text: bytes) -> list[bytes]:
    """Leave out what follows the message of an exception: warnings and traces name process ids."""
    return [line for line in text.splitlines() if not line.startswith((b"(", b"    at "))]


@pytest.mark.parametrize(
    ("options", "data"),
    [
        (["-p", "[1, 2].map(x => x * 2)"], b""),
        (["-p", "require('fs').readFileSync(0, 'utf8').length"], b"x" * 100_000),
        (["-"], b"console.log('from', 'standard input')"),
        (["--input-type=module", "-e", "import os from 'os'; console.log(await Promise.resolve(os.EOL.length))"], b""),
        (["-e", "process.stdin.pipe(process.stdout)"], b"line\n" * 30_000),
        (["--version"], b""),
        (["--check", "missing.js"], b""),
        (["--no-such-option"], b""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_and_standard_streams(options: list[str], data: bytes) -> None:
    argv = ["node", *options]
    found, expected = through_api("node", argv, input=data), outside(argv, input=data)
    assert (found.status, found.stdout) == (expected.status, expected.stdout)
    assert _without_places(found.stderr) == _without_places(expected.stderr)


@pytest.fixture
def directory(public_tmp: Path) -> Path:
    """A small project: a script, a module of it, a module of modules, and a package."""
    (public_tmp / "main.js").write_text("""
const {twice} = require('./lib/twice'), data = require('./data.json');
console.log(twice(data.number), require('package'), process.argv.slice(2), __filename, process.cwd());
require('fs').writeFileSync('out.txt', 'kept');
""")
    (public_tmp / "main.mjs").write_text("""
import {readFile} from 'node:fs/promises';
import {createRequire} from 'node:module';
const {twice} = createRequire(import.meta.url)('./lib/twice.js');
const {number} = JSON.parse(await readFile(new URL('data.json', import.meta.url)));
console.log(twice(number), (await import('package')).default);
""")
    (public_tmp / "data.json").write_text('{"number": 21}')
    (public_tmp / "lib").mkdir()
    (public_tmp / "lib" / "twice.js").write_text("exports.twice = n => n * 2")
    (public_tmp / "node_modules" / "package").mkdir(parents=True)
    (public_tmp / "node_modules" / "package" / "index.js").write_text("module.exports = 'a package'")
    return public_tmp


@pytest.mark.parametrize("arguments", [["main.js", "a", "b"], ["main.mjs"], ["missing.js"]], ids=" ".join)
def test_scripts_and_modules_of_a_directory(run: Runner, directory: Path, arguments: list[str]) -> None:
    expected = outside(["node", *arguments], directory=directory)
    (directory / "out.txt").unlink(missing_ok=True)
    found = run("node", ["node", *arguments], directory=directory)
    assert (found.status, found.stdout) == (expected.status, expected.stdout)
    assert _without_places(found.stderr) == _without_places(expected.stderr)
    if arguments[0] == "main.js":
        assert (directory / "out.txt").read_text() == "kept"


def test_what_is_written_to_tmp_is_not_kept() -> None:
    name = "/tmp/written-by-a-node-in-a-box"
    assert through_api("node", ["node", "-e", f"require('fs').writeFileSync('{name}', 'x')"]) == Done(0, b"", b"")
    assert not Path(name).exists()


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_what_a_script_tries_beyond_the_policy_ends_the_run(attempt: str) -> None:
    argv = ["node", "-e", ATTEMPTS[attempt]]
    assert outside(argv).stdout.startswith(b"a ")
    found = through_api("node", argv)
    assert (found.status, found.stdout) == (-31, b"")
    assert found.refused in REFUSED[attempt]


@pytest.mark.parametrize("attempt", ["shell", "connection"])
def test_the_command_line_says_so_too(run: Runner, attempt: str) -> None:
    found = run("node", ["node", "-e", ATTEMPTS[attempt]])
    assert (found.status, found.stdout) == (-31, b"")
    assert found.refused in REFUSED[attempt]


def test_a_thread_of_the_script_is_stopped_as_the_script_is() -> None:
    attempt = json.dumps(ATTEMPTS["connection"])
    argv = ["node", "-e", f"new (require('worker_threads').Worker)({attempt}, {{eval: true}})"]
    assert outside(argv).stdout.startswith(b"a socket")
    found = through_api("node", argv)
    assert (found.status, found.stdout, found.refused) == (-31, b"", "socket")


def test_the_host_s_files_are_not_there() -> None:
    script = "const fs = require('fs'); console.log(['/etc/passwd', '/bin/sh', '/usr/bin/node'].map(fs.existsSync))"
    argv = ["node", "-e", script.replace("fs.existsSync", "name => fs.existsSync(name)")]
    assert outside(argv) == Done(0, b"[ true, true, true ]\n", b"")
    assert through_api("node", argv) == Done(0, b"[ false, false, true ]\n", b"")


def test_questions_about_user_and_network_fail_and_are_no_violation() -> None:
    script = """
const os = require('os'), net = require('net');
for (const ask of [os.userInfo, os.networkInterfaces])
  try { ask(); console.log('known') } catch (error) { console.log(error.code) }
net.connect('/tmp/socket').on('error', e => console.log(e.code));
"""
    # Without a sandbox the user is known if the host has a name for it.
    assert outside(["node", "-e", script]).stdout.endswith(b"\nknown\nENOENT\n")
    found = through_api("node", ["node", "-e", script])
    assert found == Done(0, b"ERR_SYSTEM_ERROR\nERR_SYSTEM_ERROR\nEACCES\n", b"")


def test_native_code_loads_from_what_is_mounted_read_only(
    compile_c: Callable[..., Path], public_tmp: Path, run: Runner
) -> None:
    source = '#include <stdio.h>\n__attribute__((constructor)) static void f(void) { puts("native"); fflush(stdout); }'
    built = compile_c(source, name="addon.node", static=False, options=("-shared", "-fPIC"))
    writable = Path(shutil.copy(built, public_tmp))
    script = "try { process.dlopen({exports: {}}, process.argv[1]) } catch (e) { console.log(e.message.split(':')[0]) }"
    loaded = b"native\nModule did not self-register"
    assert outside(["node", "-e", script, str(writable)]).stdout.startswith(loaded)
    assert run("node", ["node", "-e", script, str(built)], show=built).stdout.startswith(loaded)
    refused = run("node", ["node", "-e", script, str(writable)], directory=public_tmp)
    assert (refused.status, b"native" in refused.stdout, refused.stdout.strip() != b"") == (0, False, True)


def test_without_compiled_code_the_rule_for_executable_memory_is_not_needed() -> None:
    message = Policy.load(POLICIES / "node.textproto").message
    executable = [rule for rule in message.syscalls.rules if "mprotect" in rule.syscall]
    assert len(executable) == 1
    message.syscalls.rules.remove(executable[0])
    executor = Executor(Policy.from_message(message))
    assert executor.run(["node", "--jitless", "-p", "6 * 7"]).stdout == b"42\n"
    refused = executor.run(["node", "-p", "6 * 7"])
    assert (refused.returncode, refused.violations[0].syscall) == (-31, "mprotect")
