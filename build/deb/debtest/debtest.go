// Package debtest makes small Debian packages in memory for tests. What it
// writes is deterministic. It is not a package builder: it checks nothing, so
// that tests can make bad packages too.
package debtest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"
)

// Time is the modification time of every file that names none.
var Time = time.Unix(1700000000, 0)

// Package says what to put in a .deb. Only Name is needed.
type Package struct {
	Name         string
	Version      string            // "1.0" if empty
	Architecture string            // "amd64" if empty
	Fields       map[string]string // further control fields
	Control      map[string]string // further control files: scripts, conffiles
	Files        []File
	Compression  string // of both tars: "xz" (if empty), "gz", "zst", "none"
}

// File is one entry of data.tar, in the order given. Parents are not made.
type File struct {
	Path    string // "./" is put in front unless it begins with "/" or "."
	Content string
	Mode    int64  // 0644, 0755 for directories and 0777 for symlinks if 0
	Type    byte   // as in archive/tar; a path that ends in "/" is a directory
	Link    string // of a symlink (the type if 0) or a hard link
	UID     int
	GID     int
	Major   int64
	Minor   int64
	Xattrs  map[string]string
	Time    time.Time // Time if zero
}

// Make builds the package.
func Make(t testing.TB, p Package) []byte {
	t.Helper()
	suffix := map[string]string{"": ".xz", "xz": ".xz", "gz": ".gz", "zst": ".zst", "none": ""}
	ext, ok := suffix[p.Compression]
	require.True(t, ok, "compression %q", p.Compression)
	return Archive(
		Member{"debian-binary", []byte("2.0\n")},
		Member{"control.tar" + ext, Compress(t, ext, ControlTar(t, p))},
		Member{"data.tar" + ext, Compress(t, ext, Tar(t, p.Files...))},
	)
}

// Member is one file of an ar archive.
type Member struct {
	Name    string
	Content []byte
}

// Archive writes an ar archive.
func Archive(members ...Member) []byte {
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range members {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.Name, Time.Unix(), 0, 0, "100644", len(m.Content))
		b.Write(m.Content)
		if len(m.Content)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// ControlTar writes the control.tar of the package, uncompressed.
func ControlTar(t testing.TB, p Package) []byte {
	t.Helper()
	var control strings.Builder
	fmt.Fprintf(&control, "Package: %s\n", p.Name)
	fmt.Fprintf(&control, "Version: %s\n", or(p.Version, "1.0"))
	fmt.Fprintf(&control, "Architecture: %s\n", or(p.Architecture, "amd64"))
	for _, name := range slices.Sorted(maps.Keys(p.Fields)) {
		fmt.Fprintf(&control, "%s: %s\n", name, p.Fields[name])
	}
	control.WriteString("Description: made for a test\n")
	files := []File{{Path: "./control", Content: control.String()}}
	for _, name := range slices.Sorted(maps.Keys(p.Control)) {
		files = append(files, File{Path: "./" + name, Content: p.Control[name], Mode: 0o755})
	}
	return Tar(t, files...)
}

// Tar writes an uncompressed tar archive.
func Tar(t testing.TB, files ...File) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := f.header()
		require.NoError(t, w.WriteHeader(h))
		if h.Typeflag == tar.TypeReg {
			_, err := io.WriteString(w, f.Content)
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func (f File) header() *tar.Header {
	h := &tar.Header{
		Name: f.Path, Linkname: f.Link, Mode: f.Mode, Typeflag: f.Type,
		Uid: f.UID, Gid: f.GID, Devmajor: f.Major, Devminor: f.Minor,
		ModTime: f.Time, Format: tar.FormatGNU,
	}
	if !strings.HasPrefix(h.Name, "/") && !strings.HasPrefix(h.Name, ".") {
		h.Name = "./" + h.Name
	}
	if h.ModTime.IsZero() {
		h.ModTime = Time
	}
	defaultMode := int64(0o644)
	switch {
	case h.Typeflag != 0:
	case strings.HasSuffix(f.Path, "/"):
		h.Typeflag, defaultMode = tar.TypeDir, 0o755
	case f.Link != "":
		h.Typeflag, defaultMode = tar.TypeSymlink, 0o777
	default:
		h.Typeflag = tar.TypeReg
	}
	if h.Typeflag == tar.TypeReg {
		h.Size = int64(len(f.Content))
	}
	if h.Mode == 0 {
		h.Mode = defaultMode
	}
	for name, value := range f.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+name], h.Format = value, tar.FormatPAX
	}
	return h
}

// Compress packs b as the suffix says: ".xz", ".gz", ".zst", or "" for as is.
func Compress(t testing.TB, suffix string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch suffix {
	case "":
		return b
	case ".xz":
		w, err = xz.NewWriter(&out)
	case ".gz":
		w = gzip.NewWriter(&out)
	case ".zst":
		w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	default:
		t.Fatalf("compression %q", suffix)
	}
	require.NoError(t, err)
	_, err = w.Write(b)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
