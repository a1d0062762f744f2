package deb_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/deb"
	"slipway/build/deb/debtest"
	"slipway/build/tree"
)

// dump lists a package as text, one line per path.
func dump(r io.Reader) (string, error) {
	d, err := deb.NewReader(r)
	if err != nil {
		return "", err
	}
	defer d.Close()
	var b strings.Builder
	for {
		e, err := d.Next()
		if err == io.EOF {
			return b.String(), nil
		} else if err != nil {
			return b.String(), err
		}
		if e.Node == nil {
			fmt.Fprintf(&b, "%s = %s\n", e.Path, e.Link)
			continue
		}
		n := e.Node
		fmt.Fprintf(&b, "%s %s %04o %d:%d", e.Path, n.Type, n.Mode, n.UID, n.GID)
		switch n.Type {
		case tree.Symlink:
			fmt.Fprintf(&b, " -> %s", n.Target)
		case tree.Char, tree.Block:
			fmt.Fprintf(&b, " %d,%d", n.Major, n.Minor)
		case tree.File:
			content, err := io.ReadAll(io.LimitReader(d, 1<<20))
			if err != nil {
				return b.String(), err
			}
			fmt.Fprintf(&b, " %q", content)
		}
		for _, name := range slices.Sorted(maps.Keys(n.Xattrs)) {
			fmt.Fprintf(&b, " %s=%q", name, n.Xattrs[name])
		}
		b.WriteString("\n")
	}
}

var longName = "usr/share/" + strings.Repeat("long-name-", 20)

func sample(compression string) debtest.Package {
	return debtest.Package{
		Name: "sample", Version: "1:2.0-3", Compression: compression,
		Fields:  map[string]string{"Depends": "libc6 (>= 2.41)", "Multi-Arch": "foreign"},
		Control: map[string]string{"postinst": "#!/bin/sh\n", "conffiles": "/etc/sample\n"},
		Files: []debtest.File{
			{Path: "./"},
			{Path: "usr/bin/"},
			{Path: "usr/bin/sample", Content: "hello", Mode: 0o4755},
			{Path: "usr/bin/same", Link: "./usr/bin/sample", Type: '1'},
			{Path: "usr/bin/alias", Link: "sample"},
			{Path: "usr/bin/ping", Content: "p", Mode: 0o755,
				Xattrs: map[string]string{"security.capability": "\x01\x00\x00\x02"}},
			{Path: "var/lib/sample/", Mode: 0o2775, UID: 70000, GID: 42},
			{Path: "dev/null", Type: '3', Major: 1, Minor: 3, Mode: 0o666},
			{Path: "dev/loop300", Type: '4', Major: 7, Minor: 300, Mode: 0o660},
			{Path: "run/pipe", Type: '6', Mode: 0o600},
			{Path: longName, Content: "x"},
			{Path: "usr/share/" + strings.Repeat("y", 150), Link: strings.Repeat("z", 150)},
		},
	}
}

const sampleDump = `. directory 0755 0:0
usr/bin directory 0755 0:0
usr/bin/sample file 4755 0:0 "hello"
usr/bin/same = usr/bin/sample
usr/bin/alias symlink 0777 0:0 -> sample
usr/bin/ping file 0755 0:0 "p" security.capability="\x01\x00\x00\x02"
var/lib/sample directory 2775 70000:42
dev/null char device 0666 0:0 1,3
dev/loop300 block device 0660 0:0 7,300
run/pipe fifo 0600 0:0
`

func TestRead(t *testing.T) {
	want := sampleDump + longName + ` file 0644 0:0 "x"` + "\n" +
		"usr/share/" + strings.Repeat("y", 150) + " symlink 0777 0:0 -> " + strings.Repeat("z", 150) + "\n"
	for _, compression := range []string{"xz", "gz", "zst", "none"} {
		t.Run(compression, func(t *testing.T) {
			file := debtest.Make(t, sample(compression))
			got, err := dump(bytes.NewReader(file))
			require.NoError(t, err)
			assert.Equal(t, want, got)

			got, err = dump(iotest.OneByteReader(bytes.NewReader(file)))
			require.NoError(t, err)
			assert.Equal(t, want, got, "read byte by byte")
		})
	}
}

func TestControl(t *testing.T) {
	d, err := deb.NewReader(bytes.NewReader(debtest.Make(t, sample(""))))
	require.NoError(t, err)
	assert.Equal(t, deb.Fields{
		"Package": "sample", "Version": "1:2.0-3", "Architecture": "amd64",
		"Depends": "libc6 (>= 2.41)", "Multi-Arch": "foreign", "Description": "made for a test",
	}, d.Fields())
	assert.Equal(t, map[string][]byte{"postinst": []byte("#!/bin/sh\n")}, d.Scripts())
	assert.Equal(t, "/etc/sample\n", string(d.ControlFiles()["conffiles"]))
}

func TestSkippedContent(t *testing.T) {
	d, err := deb.NewReader(bytes.NewReader(debtest.Make(t, sample("zst"))))
	require.NoError(t, err)
	n := 0
	for {
		if _, err = d.Next(); err != nil {
			break
		}
		n++
	}
	assert.ErrorIs(t, err, io.EOF)
	assert.Equal(t, 12, n)
	_, err = d.Next()
	assert.ErrorIs(t, err, io.EOF, "the end stays the end")
}

// TestTruncated cuts a package at every length: each must be an error, none a
// shorter package.
func TestTruncated(t *testing.T) {
	for _, compression := range []string{"xz", "gz", "zst", "none"} {
		file := debtest.Make(t, sample(compression))
		whole, err := dump(bytes.NewReader(file))
		require.NoError(t, err)
		for n := range len(file) {
			got, err := dump(bytes.NewReader(file[:n]))
			if err == nil && n == len(file)-1 && got == whole {
				continue // only the padding of the last member is missing
			}
			require.Error(t, err, "%s cut at %d of %d", compression, n, len(file))
		}
		_, err = dump(iotest.DataErrReader(bytes.NewReader(file)))
		assert.NoError(t, err)
		failure := errors.New("disk on fire")
		_, err = dump(io.MultiReader(bytes.NewReader(file[:len(file)/2]), iotest.ErrReader(failure)))
		assert.ErrorIs(t, err, failure, compression)
	}
}

func TestBadFiles(t *testing.T) {
	binary := debtest.Member{Name: "debian-binary", Content: []byte("2.0\n")}
	control := func(text string) debtest.Member {
		return debtest.Member{Name: "control.tar", Content: debtest.Tar(t, debtest.File{Path: "control", Content: text})}
	}
	const good = "Package: a\nVersion: 1\nArchitecture: all\n"
	empty := debtest.Member{Name: "data.tar", Content: debtest.Tar(t)}
	data := func(files ...debtest.File) []byte {
		return debtest.Archive(binary, control(good), debtest.Member{Name: "data.tar", Content: debtest.Tar(t, files...)})
	}
	corrupt := debtest.Make(t, sample("xz"))
	corrupt[len(corrupt)-100] ^= 1

	for _, c := range []struct {
		name    string
		file    []byte
		wantErr string
	}{
		{"empty", nil, "ar: file ends after 0 bytes"},
		{"html", []byte("<!DOCTYPE html>"), `ar: not a Debian package: begins with "<!DOCTYP"`},
		{"no members", []byte("!<arch>\n"), "ar: archive is empty"},
		{"short header", []byte("!<arch>\ndebian-binary"),
			"ar: file ends inside a member header, after 13 of 60 bytes"},
		{"bad header", []byte("!<arch>\n" + strings.Repeat("x", 60)), `ar: member header ends with "xx"`},
		{"bad size", bytes.Replace(debtest.Archive(binary), []byte("4         `"), []byte("4x        `"), 1),
			`ar: member "debian-binary" has size "4x"`},
		{"negative size", bytes.Replace(debtest.Archive(binary), []byte("4         `"), []byte("-4        `"), 1),
			`ar: member "debian-binary" has size "-4"`},
		{"other first", debtest.Archive(empty), `ar: first member is "data.tar", not debian-binary`},
		{"version 3", debtest.Archive(debtest.Member{Name: "debian-binary", Content: []byte("3.0\n")}),
			`debian-binary: format version "3.0" is not 2.x`},
		{"no control", debtest.Archive(binary, empty), `ar: member "data.tar" where control.tar is due`},
		{"only binary", debtest.Archive(binary), "ar: no control.tar member"},
		{"no data", debtest.Archive(binary, control(good)), "ar: no data.tar member"},
		{"lzma", debtest.Archive(binary, control(good), debtest.Member{Name: "data.tar.lzma", Content: nil}),
			`data.tar.lzma: compression ".lzma" is not known`},
		{"trailing member", debtest.Archive(binary, control(good), empty, debtest.Member{Name: "extra", Content: nil}),
			`ar: member "extra" after data.tar`},
		{"empty control tar", debtest.Archive(binary, debtest.Member{Name: "control.tar", Content: debtest.Tar(t)}),
			"control.tar: no control file"},
		{"control without version", debtest.Archive(binary, control("Package: a\n")),
			"control: no Version field"},
		{"package name", debtest.Archive(binary, control("Package: ../a\nVersion: 1\nArchitecture: all\n")),
			`control: package name "../a" holds '.'`},
		{"control not fields", debtest.Archive(binary, control("Package\n")),
			`control: line 1: "Package" is not a field`},
		{"control twice", debtest.Archive(binary, control("Package: a\nPackage: b\n")),
			"control: line 2: field Package is set twice"},
		{"control file in a directory", debtest.Archive(binary,
			debtest.Member{Name: "control.tar", Content: debtest.Tar(t, debtest.File{Path: "a/b"})}),
			`control.tar: "./a/b" is no control file`},
		{"corrupt", corrupt, "data.tar.xz: xz: data is corrupt"},

		{"absolute", data(debtest.File{Path: "/etc/passwd"}), `data.tar: path "/etc/passwd": is absolute`},
		{"dot dot", data(debtest.File{Path: "./usr/../../etc/passwd"}),
			`data.tar: path "./usr/../../etc/passwd": leaves the root`},
		{"hard link out", data(debtest.File{Path: "a", Type: '1', Link: "../b"}),
			`data.tar: path "./a": hard link target "../b": leaves the root`},
		{"hard link absolute", data(debtest.File{Path: "a", Type: '1', Link: "/b"}),
			`data.tar: path "./a": hard link target "/b": is absolute`},
		{"through symlink", data(debtest.File{Path: "usr/lib/", Mode: 0o755},
			debtest.File{Path: "usr/lib/x", Link: "/etc"}, debtest.File{Path: "usr/lib/x/y/passwd"}),
			`data.tar: path "./usr/lib/x/y/passwd": /usr/lib/x is a symlink of the same package`},
		{"long part", data(debtest.File{Path: strings.Repeat("a", 256)}),
			`data.tar: path "./` + strings.Repeat("a", 126) + `...": has a name of 256 bytes`},
		{"long path", data(debtest.File{Path: strings.Repeat("a/", 2048)}),
			`data.tar: path "./` + strings.Repeat("a/", 63) + `...": longer than 4095 bytes`},
		{"root symlink", data(debtest.File{Path: "./", Type: '2', Link: "x"}),
			`data.tar: path "./": the root is a symlink`},
		{"device numbers", data(debtest.File{Path: "d", Type: '3', Major: 4096}),
			`data.tar: path "./d": device 4096:0`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := dump(bytes.NewReader(c.file))
			assert.EqualError(t, err, c.wantErr)
		})
	}
}

func TestIgnoredMembers(t *testing.T) {
	p := sample("none")
	file := debtest.Archive(
		debtest.Member{Name: "debian-binary", Content: []byte("2.1\nmore\n")},
		debtest.Member{Name: "_gpgbuilder", Content: []byte("odd")},
		debtest.Member{Name: "control.tar/", Content: debtest.ControlTar(t, p)},
		debtest.Member{Name: "_x", Content: []byte("")},
		debtest.Member{Name: "data.tar", Content: debtest.Tar(t, p.Files...)},
		debtest.Member{Name: "_gpgorigin", Content: []byte("-----BEGIN")},
	)
	got, err := dump(bytes.NewReader(file))
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(got, sampleDump), got)
}

func TestParseFields(t *testing.T) {
	got, err := deb.ParseFields([]byte("# c\nPackage: a\nDescription: short\n long\n .\n\tmore\nX:\n\n"))
	require.NoError(t, err)
	assert.Equal(t, deb.Fields{"Package": "a", "Description": "short\n long\n .\n\tmore", "X": ""}, got)
	for text, wantErr := range map[string]string{
		" x\n":         "control: line 1: continues no field",
		"A: b\n\nC: d": "control: line 2: a second paragraph",
		"A: \xff":      "control: not valid UTF-8",
		"a b: c":       `control: line 1: "a b: c" is not a field`,
	} {
		_, err := deb.ParseFields([]byte(text))
		assert.EqualError(t, err, wantErr)
	}
}

func FuzzPackage(f *testing.F) {
	for _, compression := range []string{"xz", "gz", "zst", "none"} {
		f.Add(debtest.Make(f, sample(compression)))
	}
	f.Add([]byte("!<arch>\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		text, err := dump(bytes.NewReader(file))
		if err == nil && strings.Contains(text, "../") && !strings.Contains(text, "-> ") {
			t.Errorf("a path leaves the root:\n%s", text)
		}
	})
}

func FuzzParseFields(f *testing.F) {
	f.Add([]byte("Package: a\nVersion: 1\nDescription: x\n y\n"))
	f.Fuzz(func(t *testing.T, text []byte) { _, _ = deb.ParseFields(text) })
}
