package overlays_test

import (
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/tree"
	"slipway/overlays"
)

// layer makes a layer directory out of its overlay.yaml and files, given as
// path, content pairs.
func layer(yaml string, files ...string) fstest.MapFS {
	fsys := fstest.MapFS{"overlay.yaml": {Data: []byte(yaml), Mode: 0o644}}
	for i := 0; i < len(files); i += 2 {
		mode := fs.FileMode(0o644)
		name, exec := strings.CutSuffix(files[i], "*")
		if exec {
			mode = 0o755
		}
		fsys[name] = &fstest.MapFile{Data: []byte(files[i+1]), Mode: mode}
	}
	return fsys
}

func load(t *testing.T, name, yaml string, files ...string) *overlays.Layer {
	t.Helper()
	l, err := overlays.Load(layer(yaml, files...), name)
	require.NoError(t, err)
	return l
}

func TestLoadErrors(t *testing.T) {
	sum := strings.Repeat("0", 64)
	for _, test := range []struct {
		name, yaml string
		files      []string
		want       string
	}{
		{"unknown key", "description: x\npakages: [a]\n", nil,
			`base/overlay.yaml:2: unknown key "pakages"; did you mean "packages"?`},
		{"unknown key inside", "units:\n  enabel: [a.service]\n", nil,
			`base/overlay.yaml:2: unknown key "enabel"; did you mean "enable"?`},
		{"unknown key like no other", "zzzzzzzz: 1\n", nil,
			`base/overlay.yaml:1: unknown key "zzzzzzzz"`},
		{"key twice", "description: x\ndescription: y\n", nil,
			`base/overlay.yaml:2: mapping key "description" already defined at [1:1]`},
		{"wrong type", "description: x\nkernel:\n  cmdline: {a: b}\n", nil,
			"base/overlay.yaml:3: "},
		{"bad mode", "files:\n  etc/x: {content: a, mode: 0999}\n", nil,
			`mode "0999": not an octal mode between 0001 and 7777`},
		{"broken yaml", "packages: [a\n", nil, "base/overlay.yaml:1: "},
		{"tag without value", "users: ! ", nil, "base/overlay.yaml: not understood as YAML: "},
		{"no uid", "users: [{name: core}]\n", nil,
			`base/overlay.yaml: users: "core" has no uid; ids are fixed for ever`},
		{"bad package", "packages: [Bash]\n", nil,
			`base/overlay.yaml: packages: "Bash" is not a package name`},
		{"path through link", "files:\n  bin/x: {content: a}\n", nil,
			`base/overlay.yaml: files: "bin/x" goes through a link of the merged /usr; write "usr/bin/x"`},
		{"path leaves root", "files:\n  etc/../../x: {content: a}\n", nil,
			`base/overlay.yaml: files: path "etc/../../x": leaves the root`},
		{"absolute path", "files:\n  /etc/x: {content: a}\n", nil,
			`base/overlay.yaml: files: "/etc/x" is not a clean path without leading slash`},
		{"nothing there", "files:\n  etc/x: {mode: 0600}\n", nil,
			`base/overlay.yaml: files: "etc/x" is not in files/ and has no ` +
				"symlink, directory, content, copy or adjust"},
		{"two kinds", "files:\n  etc/x: {symlink: y, directory: true}\n", nil,
			`base/overlay.yaml: files: "etc/x" has more than one of ` +
				"symlink, directory, content, copy, adjust"},
		{"twice", "files:\n  etc/x: {symlink: y}\n", []string{"files/etc/x", ""},
			`base/overlay.yaml: files: "etc/x" exists in files/ too`},
		{"bad glob", "remove: ['usr/a**b']\n", nil,
			`base/overlay.yaml: glob "usr/a**b": ** must stand alone between slashes`},
		{"unit twice", "units: {enable: [a.service], mask: [a.service]}\n", nil,
			`base/overlay.yaml: units: "a.service" in both enable and mask`},
		{"script unsaid", "{}", []string{"scripts.yaml", "bash: {postinst: {sha256: [" + sum + "]}}"},
			"base/scripts.yaml: bash postinst: does: empty\nbase/scripts.yaml: bash postinst: by: empty"},
		{"script unknown", "{}", []string{"scripts.yaml", "bash:\n  posinst: {any: x, does: y, by: z}"},
			"base/scripts.yaml: bash posinst: not a maintainer script"},
		{"host in archive",
			"archive: {suites: [{archive: 'http://x', suite: s, components: [main]}]}", nil,
			`base/overlay.yaml: archive: "http://x" is not a path below the mirror`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := overlays.Load(layer(test.yaml, test.files...), "base")
			assert.ErrorContains(t, err, test.want)
		})
	}
}

func TestLoadRefusesLinks(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(dir+"/files/etc", 0o755))
	require.NoError(t, os.WriteFile(dir+"/overlay.yaml", []byte("description: x\n"), 0o644))
	require.NoError(t, os.Symlink("y", dir+"/files/etc/x"))
	_, err := overlays.Load(os.DirFS(dir), "base")
	assert.EqualError(t, err, "overlay base: files/etc/x: "+
		"not a regular file; declare links under files: in overlay.yaml")
}

func TestFiles(t *testing.T) {
	l := load(t, "base", `
files:
  etc/secret: {mode: 0600, owner: core, group: "7"}
  etc/link: {symlink: ../run/x}
  etc/dir: {directory: true, mode: "1777"}
  etc/text: {content: "hello\n"}
  etc/profile: {copy: usr/share/profile}
  usr/bin/ssh-agent: {adjust: true, mode: "2755"}
`, "files/etc/secret", "s", "files/usr/bin/tool*", "#!")
	var got []string
	for _, f := range l.Files {
		kind := f.Type.String()
		if f.Copy != "" {
			kind = "copy of " + f.Copy
		}
		if f.Adjust {
			kind = "adjusted"
		}
		got = append(got, strings.Join([]string{f.Path, kind, octal(f.Mode),
			f.Owner, f.Group, f.Target}, " "))
	}
	assert.Equal(t, []string{
		"etc/dir directory 1777 root root ",
		"etc/link symlink 777 root root ../run/x",
		"etc/profile copy of usr/share/profile 0 root root ",
		"etc/secret file 600 core 7 ",
		"etc/text file 644 root root ",
		"usr/bin/ssh-agent adjusted 2755   ",
		"usr/bin/tool file 755 root root ",
	}, got)
	text, err := tree.ReadAll(l.Files[3].Blob)
	require.NoError(t, err)
	assert.Equal(t, "s", string(text))
}

func octal(mode uint32) string {
	if mode == 0 {
		return "0"
	}
	var digits []byte
	for ; mode > 0; mode >>= 3 {
		digits = append([]byte{byte('0' + mode&7)}, digits...)
	}
	return string(digits)
}

func TestMergeConflicts(t *testing.T) {
	base := load(t, "base", "users: [{name: core, uid: 500}]\nkernel: {package: linux}\n",
		"files/etc/hosts", "1")
	for _, test := range []struct{ name, yaml, want string }{
		{"path", "files: {etc/hosts: {content: a}}",
			"overlays base and beta conflict on /etc/hosts"},
		{"user", "users: [{name: core, uid: 501}]",
			`overlays base and beta conflict on user "core"`},
		{"uid", "users: [{name: other, uid: 500}]",
			`overlays base, beta: users "core" and "other" both have uid 500`},
		{"kernel", "kernel: {package: linux-rt}",
			"overlays base and beta conflict on the kernel package"},
		{"below a file", "files: {etc/hosts/x: {content: a}}",
			"overlays base, beta: /etc/hosts/x of beta lies below /etc/hosts, a file of base"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := overlays.Merge(nil, base, load(t, "beta", test.yaml))
			assert.EqualError(t, err, test.want)
		})
	}
	_, err := overlays.Merge(nil, base,
		load(t, "beta", "files: {etc/hosts: {content: a}}\nkernel: {package: b}"))
	assert.EqualError(t, err, "overlays base and beta conflict on /etc/hosts\n"+
		"overlays base and beta conflict on the kernel package", "all conflicts are told")
}

func TestMergeReplaces(t *testing.T) {
	c, err := overlays.Merge(nil,
		load(t, "base", "units: {enable: [a.service, b.service], default: x.target}\n"+
			"os-release: {NAME: a, ID: b}\npackages: [bash, curl]\nrollback-floor: 4889.0.0\n", "files/etc/hosts", "1"),
		load(t, "beta", "files: {etc/hosts: {content: two, replace: true}}\n"+
			"units: {mask: [a.service]}\nos-release: {NAME: c}\npackages: [curl, jq]\nrollback-floor: 4888.0.0\n"))
	require.NoError(t, err)
	require.Len(t, c.Files, 1)
	text, err := tree.ReadAll(c.Files[0].Blob)
	require.NoError(t, err)
	assert.Equal(t, "two", string(text))
	assert.Equal(t, overlays.Units{
		Enable: []string{"b.service"}, Mask: []string{"a.service"}, Default: "x.target"}, c.Units)
	assert.Equal(t, map[string]string{"NAME": "c", "ID": "b"}, c.OSRelease)
	assert.Equal(t, "4889.0.0", c.RollbackFloor, "the highest")
	assert.Equal(t, []overlays.Package{{"bash", "base"}, {"curl", "base"}, {"jq", "beta"}}, c.Packages)
}

// Every byte, name and exec bit of a layer, and the order of layers, counts.
func TestDigest(t *testing.T) {
	a := load(t, "a", "description: x\n", "files/etc/x", "1", "files/etc/y", "2")
	same := load(t, "a", "description: x\n", "files/etc/y", "2", "files/etc/x", "1")
	assert.Equal(t, a.Digest, same.Digest)
	for _, other := range []*overlays.Layer{
		load(t, "a", "description: x \n", "files/etc/x", "1", "files/etc/y", "2"),
		load(t, "a", "description: x\n", "files/etc/x", "2", "files/etc/y", "1"),
		load(t, "a", "description: x\n", "files/etc/x*", "1", "files/etc/y", "2"),
		load(t, "a", "description: x\n", "files/etc/xx", "1", "files/etc/y", "2"),
	} {
		assert.NotEqual(t, a.Digest, other.Digest)
	}
	b := load(t, "b", "description: x\n")
	ab, err := overlays.Merge(nil, a, b)
	require.NoError(t, err)
	ba, err := overlays.Merge(nil, b, a)
	require.NoError(t, err)
	assert.NotEqual(t, ab.Digest, ba.Digest)
}

func TestUnknownChannel(t *testing.T) {
	for _, name := range []string{"gamma", "../channels/alpha", ""} {
		_, err := overlays.LoadChannel(os.DirFS("."), name)
		assert.EqualError(t, err,
			`channel "`+name+`": not one of ["alpha" "beta" "stable"]`)
	}
}

// The channels of this project load, merge and agree with one another.
func TestOurChannels(t *testing.T) {
	here := os.DirFS(".")
	var digests [][32]byte
	for _, name := range overlays.Channels(here) {
		channel, err := overlays.LoadChannel(here, name)
		require.NoError(t, err)
		layers, err := overlays.LoadLayers(here, channel)
		require.NoError(t, err)
		config, err := overlays.Merge(channel, layers...)
		require.NoError(t, err)
		assert.Equal(t, []string{"base", "docker", "etcd", "fleet"}, config.Layers)
		assert.NotEmpty(t, config.Keys)
		assert.Equal(t, "linux-image-cloud-amd64", config.Kernel.Package)
		digests = append(digests, config.Digest)
	}
	require.Len(t, digests, 3)
	assert.Equal(t, digests[0], digests[1], "channels are pointers to the same bytes")
	assert.Equal(t, digests[0], digests[2])
}

func TestGlob(t *testing.T) {
	for _, test := range []struct {
		glob, path string
		want       bool
	}{
		{"usr/share/doc", "usr/share/doc", true},
		{"usr/share/doc", "usr/share/doc/bash/copyright", true},
		{"usr/share/doc", "usr/share/doc-base", false},
		{"usr/*/x", "usr/a/x", true},
		{"usr/*/x", "usr/a/b/x", false},
		{"usr/**/x", "usr/x", true},
		{"usr/**/x", "usr/a/b/x", true},
		{"usr/**", "usr", false},
		{"usr/**", "usr/a/b", true},
		{"**/*.pyc", "usr/lib/a.pyc", true},
		{"**/*.pyc", "a.pyc", true},
		{"usr/lib/*.[ch]", "usr/lib/a.c", true},
		{"usr/lib/hid-[!gh]*", "usr/lib/hid-apple", true},
		{"usr/lib/hid-[!gh]*", "usr/lib/hid-generic", false},
		{"usr/a.b", "usr/axb", false},
	} {
		re, err := overlays.CompileGlob(test.glob)
		require.NoError(t, err)
		assert.Equal(t, test.want, re.MatchString(test.path), "%s on %s", test.glob, test.path)
	}
	for _, bad := range []string{"", "/usr", "usr/", "usr/[a", "usr/[]"} {
		_, err := overlays.CompileGlob(bad)
		assert.Error(t, err, bad)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("description: x\npackages: [a]\n")
	f.Add("files: {etc/x: {mode: 0644, symlink: y}}\nusers: [{name: a, uid: 1}]\n")
	f.Add("users: ! ")
	f.Add("remove: ['**/[a-z]*']\n&a [*a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := overlays.Load(layer(text), "base")
		if err == nil {
			_, _ = overlays.Merge(nil, l)
		}
	})
}
