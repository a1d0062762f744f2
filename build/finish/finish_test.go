package finish_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/finish"
	"slipway/build/tree"
	"slipway/overlays"
)

// TestMain lets the test binary stand in for every tool of the tools tree:
// with FAKE_TOOL set it is that tool.
func TestMain(m *testing.M) {
	if tool := os.Getenv("FAKE_TOOL"); tool != "" {
		if err := fakeTool(tool, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		return
	}
	os.Exit(m.Run())
}

// fakeTool writes what the real tool would write, with the modes of a user
// whose umask is strict.
func fakeTool(tool string, args []string) error {
	root := strings.TrimPrefix(args[0], "--root=")
	switch tool {
	case "systemctl":
		wants := filepath.Join(root, "etc/systemd/system/multi-user.target.wants")
		if err := os.MkdirAll(wants, 0o700); err != nil {
			return err
		}
		if err := os.Symlink("/usr/lib/systemd/system/gone.service", wants+"/gone.service"); err != nil {
			return err
		}
		return os.Symlink("/usr/lib/systemd/system/a.service", wants+"/a.service")
	case "journalctl":
		dir := filepath.Join(root, "var/lib/systemd/catalog")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		return os.WriteFile(dir+"/database", []byte("catalog"), 0o600)
	case "systemd-hwdb":
		return fmt.Errorf("line 3 of %s is broken", strings.TrimPrefix(args[1], "--root="))
	case "depmod":
		dir := filepath.Join(args[1], "lib/modules", args[4])
		if _, err := os.Stat(dir + "/kernel/x.ko"); err != nil {
			return err
		}
		return os.WriteFile(dir+"/modules.dep", []byte("kernel/x.ko:\n"), 0o600)
	}
	return fmt.Errorf("unexpected tool %q %q", tool, args)
}

// fakeRunner runs fakeTool and counts.
type fakeRunner struct{ runs *[]string }

func (r fakeRunner) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	*r.runs = append(*r.runs, program)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = []string{"FAKE_TOOL=" + program}
	return cmd
}

// files makes a tree out of lines "path: content", "path -> target" and
// "path/", all of the package "p".
func files(t *testing.T, lines ...string) *tree.Tree {
	t.Helper()
	out := tree.New()
	for _, line := range lines {
		n := &tree.Node{Type: tree.File, Mode: 0o644, MTime: 7, Origin: "package p"}
		name, content, isFile := strings.Cut(line, ": ")
		if from, to, isLink := strings.Cut(line, " -> "); isLink && !isFile {
			name, n.Type, n.Mode, n.Target = from, tree.Symlink, 0o777, to
		} else if dir, isDir := strings.CutSuffix(line, "/"); isDir {
			name, n.Type, n.Mode = dir, tree.Dir, 0o755
		} else {
			n.Blob = tree.Bytes([]byte(content))
		}
		require.NoError(t, out.Set(name, n))
	}
	return out
}

// config merges one overlay out of its overlay.yaml and path, content pairs.
func config(t *testing.T, yaml string, pairs ...string) *overlays.Config {
	t.Helper()
	fsys := fstest.MapFS{"overlay.yaml": {Data: []byte(yaml), Mode: 0o644}}
	for i := 0; i < len(pairs); i += 2 {
		fsys[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1]), Mode: 0o644}
	}
	l, err := overlays.Load(fsys, "base")
	require.NoError(t, err)
	c, err := overlays.Merge(nil, l)
	require.NoError(t, err)
	return c
}

func options(t *testing.T, in *tree.Tree, c *overlays.Config) *finish.Options {
	return &finish.Options{
		Tree: in, Config: c, Time: time.Unix(1763000000, 0), Version: "4521.0.0",
		Runner: fakeRunner{&[]string{}}, TempDir: t.TempDir(),
	}
}

// run gives the finished tree.
func run(t *testing.T, in *tree.Tree, c *overlays.Config) *tree.Tree {
	t.Helper()
	result, err := finish.Run(context.Background(), options(t, in, c))
	require.NoError(t, err)
	return result.Usr
}

// dump lists a tree, one path a line, with what differs from root's 0644 or
// 0755, except for the files every image has.
func dump(t *testing.T, u *tree.Tree) string {
	t.Helper()
	always := " lib/os-release share/coreos/release share/slipway/etc/os-release share/slipway/etc/lsb-release" +
		" share/slipway/etc/passwd share/slipway/etc/group share/slipway/etc/shadow" +
		" share/slipway/etc/gshadow lib/sysusers.d/00-slipway.conf" +
		" lib/systemd/system-preset/00-slipway.preset "
	var b strings.Builder
	for p, n := range u.All() {
		if n.Type == tree.Dir && n.Mode == 0o755 || strings.Contains(always, " "+p+" ") {
			continue
		}
		b.WriteString(p)
		if n.Type != tree.Symlink && n.Mode != 0o644 {
			fmt.Fprintf(&b, " %04o", n.Mode)
		}
		if n.UID != 0 || n.GID != 0 {
			fmt.Fprintf(&b, " %d:%d", n.UID, n.GID)
		}
		switch n.Type {
		case tree.Symlink:
			b.WriteString(" -> " + n.Target)
		case tree.File:
			b.WriteString(": " + strings.ReplaceAll(content(t, u, p), "\n", "|"))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func content(t *testing.T, u *tree.Tree, p string) string {
	t.Helper()
	n := u.Lookup(p)
	require.NotNil(t, n, p)
	text, err := tree.ReadAll(n.Blob)
	require.NoError(t, err)
	return string(text)
}

func TestRemoveAndFiles(t *testing.T) {
	u := run(t, files(t,
		"usr/share/doc/a/copyright: c", "usr/share/doc/b/notes: n", "usr/share/man/man1/a.1: m",
		"usr/bin/mawk: elf", "usr/bin/agent: elf", "usr/share/base/profile: hello", "etc/x.conf: old",
		"usr/lib/empty/",
	), config(t, `
remove: [usr/share/doc, usr/share/man, usr/share/base, usr/bin/agent2]
keep: ["usr/share/doc/*/copyright"]
alternatives: {usr/bin/awk: mawk, usr/bin/nawk: /usr/bin/mawk}
users: [{name: core, uid: 500, groups: [wheel]}]
groups: [{name: wheel, gid: 10}]
files:
  etc/profile: {copy: usr/share/base/profile}
  etc/secret: {content: s, mode: 0600, owner: core, group: wheel}
  etc/x.conf: {content: new, replace: true}
  usr/bin/agent: {adjust: true, mode: "2755", group: wheel}
`, "files/usr/lib/tool", "t"))
	assert.Equal(t, strings.Join([]string{
		"bin/agent 2755 0:10: elf",
		"bin/awk -> mawk",
		"bin/mawk: elf",
		"bin/nawk -> /usr/bin/mawk",
		"lib/tool: t",
		"share/doc/a/copyright: c",
		"share/slipway/etc/profile: hello",
		"share/slipway/etc/secret 0600 500:10: s",
		"share/slipway/etc/x.conf: new", "",
	}, "\n"), dump(t, u))
	for p, n := range u.All() {
		assert.Equal(t, int64(1763000000), n.MTime, p)
	}
	assert.NotNil(t, u.Lookup("lib/empty"), "an empty directory stays")
	assert.Nil(t, u.Lookup("share/doc/b"), "a directory goes with the last of its files")
}

func TestRunErrors(t *testing.T) {
	for _, test := range []struct {
		name string
		tree []string
		yaml string
		want string
	}{
		{"file over a package's", []string{"etc/x: 1"}, "files: {etc/x: {content: a}}",
			"finish overlay files: overlay base sets /etc/x, which package p brings"},
		{"copy of nothing", nil, "files: {etc/x: {copy: usr/y}}",
			"finish copies: overlay base: copy of /usr/y to /etc/x: no such file"},
		{"adjust of nothing", nil, "files: {etc/x: {adjust: true, mode: 0600}}",
			"finish overlay files: overlay base: /etc/x: no package brings it"},
		{"owner unknown", nil, "files: {etc/x: {content: a, owner: who}}",
			`finish owners: overlay base: /etc/x: user "who": not declared`},
		{"alternative to nothing", nil, "alternatives: {usr/bin/awk: mawk}",
			"finish alternatives: alternative /usr/bin/awk: no mawk to point to"},
		{"alternative there", []string{"usr/bin/awk: 1"}, "alternatives: {usr/bin/awk: awk}",
			"finish alternatives: alternative /usr/bin/awk: package p brings it"},
		{"unit unknown", nil, "units: {enable: [a.service]}",
			`finish units: unit "a.service": enabled by an overlay, but nothing brings it`},
		{"two kernels", []string{"boot/vmlinuz-1: 1", "boot/vmlinuz-2: 2"}, "{}",
			`finish kernel: kernels "1" and "2": an image has one`},
		{"no kernel", nil, "kernel: {package: linux}",
			`finish kernel: package "linux" and what it depends on: no boot/vmlinuz-*`},
		{"machine id", []string{"etc/machine-id: 1"}, "{}",
			"finish etc: /etc/machine-id of package p: every machine makes its own"},
		{"host key", []string{"etc/ssh/ssh_host_rsa_key: 1"}, "{}",
			"finish etc: /etc/ssh/ssh_host_rsa_key of package p: every machine makes its own"},
		{"dynamic user", []string{"usr/lib/sysusers.d/a.conf: u bus - \"Bus\" /run\n"}, "{}",
			`finish accounts: user "bus" of /usr/lib/sysusers.d/a.conf:1: ` +
				"no fixed id; declare one under users: in an overlay"},
		{"dynamic group", []string{"usr/lib/sysusers.d/a.conf: # c\ng bus -\n"}, "{}",
			`finish accounts: group "bus" of /usr/lib/sysusers.d/a.conf:2: ` +
				"no fixed id; declare one under groups: in an overlay"},
		{"uid twice", []string{"usr/lib/sysusers.d/a.conf: u a 7\nu b 7:0\n"},
			"groups: [{name: r, gid: 0}]",
			`finish accounts: users "a" and "b": both have uid 7`},
		{"no such group", nil, "users: [{name: a, uid: 1, groups: [x]}]",
			`finish accounts: user "a" in group "x", of the overlays: both must be declared`},
		{"no group for gid", nil, "users: [{name: a, uid: 1, gid: 9}]",
			`finish accounts: user "a": no group has its gid 9`},
		{"tool fails", []string{"usr/lib/udev/hwdb.d/a.hwdb: 1"}, "{}",
			"finish tools: hwdb: run systemd-hwdb: exit status 3: line 3 of  is broken"},
		{"pam template gone", []string{"usr/share/pam/common-auth: 1"}, "{}",
			"finish pam: /usr/share/pam/common-account: no such file"},
		{"bad certificate", []string{"usr/share/ca-certificates/a.crt: 1"}, "{}",
			"finish ca certificates: /usr/share/ca-certificates/a.crt: no PEM certificate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := finish.Run(context.Background(),
				options(t, files(t, test.tree...), config(t, test.yaml)))
			assert.EqualError(t, err, test.want)
		})
	}
}

func TestAccounts(t *testing.T) {
	u := run(t, files(t,
		"usr/lib/sysusers.d/basic.conf: g shadow 42\ng daemon 1\nu root 0 - /root /bin/bash\n"+
			"u! daemon 1 - /usr/sbin\nu nobody 65534:65534\ng nogroup 65534 -\n",
		"usr/lib/sysusers.d/bus.conf: u bus - \"System Bus\" /nonexistent\nm bus daemon\n",
		"etc/sysusers.d/hidden.conf -> /dev/null",
		"usr/lib/sysusers.d/hidden.conf: u hidden -\n",
	), config(t, `
users:
  - {name: bus, uid: 201}
  - {name: core, uid: 500, comment: Admin, home: /home/core, shell: /bin/bash, groups: [docker]}
groups: [{name: docker, gid: 233, members: [bus]}]
`))
	assert.Equal(t, `root:x:0:0::/root:/bin/bash
daemon:x:1:1::/usr/sbin:/usr/sbin/nologin
bus:x:201:201:System Bus:/nonexistent:/usr/sbin/nologin
core:x:500:500:Admin:/home/core:/bin/bash
nobody:x:65534:65534::/:/usr/sbin/nologin
`, content(t, u, "share/slipway/etc/passwd"))
	assert.Equal(t, `root:x:0:
daemon:x:1:bus
shadow:x:42:
bus:x:201:
docker:x:233:bus,core
core:x:500:
nogroup:x:65534:
`, content(t, u, "share/slipway/etc/group"))
	shadow := u.Lookup("share/slipway/etc/shadow")
	assert.Equal(t, uint32(0o640), shadow.Mode)
	assert.Equal(t, uint32(42), shadow.GID)
	sysusers := content(t, u, "lib/sysusers.d/00-slipway.conf")
	assert.Contains(t, sysusers, "g docker 233\n")
	assert.Contains(t, sysusers, "u core 500:500 \"Admin\" /home/core /bin/bash\n")
	assert.Contains(t, sysusers, "m bus docker\n")
	assert.Contains(t, content(t, u, "share/slipway/etc/shadow"), "core:*:::::::\n")
	assert.Contains(t, content(t, u, "share/slipway/etc/gshadow"), "docker:*::bus,core\n")
}

func TestOSRelease(t *testing.T) {
	o := options(t, files(t, "usr/lib/os-release: PRETTY_NAME=Debian\n"),
		config(t, "os-release: {NAME: 'My $OS', ID: mine, HOME_URL: https://example.org/}"))
	o.Development, o.BuildID = true, "20261121"
	result, err := finish.Run(context.Background(), o)
	require.NoError(t, err)
	want := `NAME="My \$OS"
ID=mine
VERSION=4521.0.0
VERSION_ID=4521.0.0
BUILD_ID=20261121
PRETTY_NAME="My \$OS 4521.0.0 (development image)"
VARIANT=Development
VARIANT_ID=development
HOME_URL=https://example.org/
`
	assert.Equal(t, want, string(result.OSRelease))
	assert.Equal(t, want, content(t, result.Usr, "lib/os-release"))
	assert.Equal(t, "../usr/lib/os-release", result.Usr.Lookup("share/slipway/etc/os-release").Target)
}

func TestUnits(t *testing.T) {
	u := run(t, files(t, "usr/lib/systemd/system/a.service: [Install]",
		"usr/lib/systemd/system/multi-user.target: x",
		"usr/lib/systemd/system/default.target -> graphical.target",
	), config(t, `
units: {default: multi-user.target, enable: [a.service], disable: [b.timer], mask: [c.service]}
`))
	assert.Equal(t, "# The units that the overlays of this image enable; all others stay off.\n"+
		"disable b.timer\nenable a.service\ndisable *\n",
		content(t, u, "lib/systemd/system-preset/00-slipway.preset"))
	assert.Equal(t, "lib/systemd/system/a.service: [Install]\n"+
		"lib/systemd/system/default.target -> multi-user.target\n"+
		"lib/systemd/system/multi-user.target: x\n"+
		"share/slipway/etc/systemd/system/c.service -> /dev/null\n"+
		"share/slipway/etc/systemd/system/multi-user.target.wants/a.service"+
		" -> /usr/lib/systemd/system/a.service\n",
		dump(t, u), "a link to a unit that is not there is dropped")
}

func TestKernelAndModules(t *testing.T) {
	result, err := finish.Run(context.Background(), options(t, files(t,
		"boot/vmlinuz-6.12-x: MZ", "boot/config-6.12-x: c",
		"usr/lib/modules/6.12-x/kernel/x.ko: m"), config(t, "kernel: {package: linux}")))
	require.NoError(t, err)
	assert.Equal(t, "6.12-x", result.KernelVersion)
	assert.Equal(t, int64(2), result.Kernel.Size())
	assert.Equal(t, "lib/modules/6.12-x/kernel/x.ko: m\n"+
		"lib/modules/6.12-x/modules.dep: kernel/x.ko:|\n", dump(t, result.Usr))
}

func TestTmpfiles(t *testing.T) {
	in := files(t, "var/lib/a/", "var/lib/known/", "var/lib/b: text", "var/mail -> spool/mail",
		"srv/with space%/", "opt/", "usr/lib/systemd/catalog/x.catalog: c",
		"usr/lib/tmpfiles.d/p.conf: d /var/lib/known 0700\nx /var/lib/a\n")
	in.Lookup("var/lib/a").UID = 7
	u := run(t, in, config(t, "{}"))
	assert.Equal(t, `lib/tmpfiles.d/p.conf: d /var/lib/known 0700|x /var/lib/a|
lib/tmpfiles.d/slipway.conf: # What packages ship outside /usr and /etc.|`+
		`d /srv/with\x20space%% 0755 0 0 -|`+
		`d /var/lib 0755 0 0 -|`+
		`d /var/lib/a 0755 7 0 -|`+
		`C /var/lib/b 0644 0 0 - /usr/share/factory/var/lib/b|`+
		`d /var/lib/systemd 0755 0 0 -|d /var/lib/systemd/catalog 0755 0 0 -|`+
		`L+ /var/lib/systemd/catalog/database - - - - /usr/share/slipway/catalog/database|`+
		`L /var/mail - - - - spool/mail|
share/factory/var/lib/b: text
share/slipway/catalog/database: catalog
`, dump(t, u))
}

// A result is taken from the cache while nothing it depends on changes, and a
// damaged cache file counts for nothing.
func TestStepCache(t *testing.T) {
	cache := t.TempDir()
	once := func(unit, tools string) (runs []string, listing string) {
		o := options(t, files(t, "usr/lib/systemd/system/a.service: "+unit), config(t, "{}"))
		o.CacheDir, o.ToolsDigest, o.Runner = cache, tools, fakeRunner{&runs}
		result, err := finish.Run(context.Background(), o)
		require.NoError(t, err)
		return runs, dump(t, result.Usr)
	}
	runs, first := once("1", "t")
	assert.Equal(t, []string{"systemctl"}, runs)
	runs, again := once("1", "t")
	assert.Empty(t, runs)
	assert.Equal(t, first, again)
	runs, _ = once("2", "t")
	assert.Len(t, runs, 1, "another unit file")
	runs, _ = once("1", "u")
	assert.Len(t, runs, 1, "another tools tree")

	kept, err := filepath.Glob(cache + "/steps/*")
	require.NoError(t, err)
	require.NotEmpty(t, kept)
	for _, name := range kept {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name, data[:len(data)-1], 0o644))
	}
	runs, again = once("1", "t")
	assert.Len(t, runs, 1, "a damaged cache file")
	assert.Equal(t, first, again)
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := finish.Run(ctx, options(t, files(t), config(t, "{}")))
	assert.ErrorIs(t, err, context.Canceled)
}

func TestCheckScripts(t *testing.T) {
	sum := func(b byte) (s [32]byte) { s[0] = b; return }
	c := config(t, "{}", "scripts.yaml", `
bash:
  postinst: {sha256: ["`+fmt.Sprintf("%x", sum(1))+`"], does: a, by: b}
linux-image-*:
  postinst: {any: holds the version, does: a, by: b}
`)
	changes := finish.CheckScripts(c, []finish.PackageScripts{
		{Package: "linux-image-6.12", Scripts: map[string][32]byte{"postinst": sum(9)}},
		{Package: "bash", Scripts: map[string][32]byte{"postinst": sum(2), "prerm": sum(1)}},
		{Package: "curl", Scripts: map[string][32]byte{"postinst": sum(3)}},
	})
	var got []string
	for _, c := range changes {
		got = append(got, c.Package+" "+c.Script+" "+string(c.Kind))
	}
	assert.Equal(t, []string{"bash postinst changed", "bash prerm new", "curl postinst unknown"}, got)
	assert.Equal(t, `package "bash": postinst: changed since somebody read it (sha256 `+
		fmt.Sprintf("%x", sum(2))+")", changes[0].String())
	assert.Empty(t, finish.CheckScripts(c, []finish.PackageScripts{
		{Package: "bash", Scripts: map[string][32]byte{"postinst": sum(1)}}}))
}
