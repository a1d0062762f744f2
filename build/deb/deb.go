// Package deb reads Debian binary packages (.deb) from a stream, in process
// and in bounded memory: the control fields, the maintainer scripts, and the
// files with owner, mode, times, links, devices and extended attributes.
//
// It knows the format of deb(5): an ar archive of debian-binary,
// control.tar and data.tar, each tar plain or compressed with gzip, xz, zstd
// or bzip2. It refuses paths that would leave the root. It does not write
// files, run scripts, or decide what happens to a path; package unpack does.
package deb

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds on what a package may hold. The largest packages of Debian 13 stay
// below a hundredth of them.
const (
	MaxControlSize = 32 << 20 // bytes of control.tar, decompressed
	MaxEntries     = 1 << 20  // files and directories in data.tar
	MaxPath        = 4096     // bytes of a path or link target
	MaxDataSize    = 64 << 30 // bytes of data.tar, decompressed
	MaxXattrs      = 64 << 10 // bytes of extended attributes of one file
)

// Reader gives what a package holds in the order of the file. It is not safe
// for use by several goroutines.
type Reader struct {
	fields  Fields
	control map[string][]byte

	ar      *arReader
	data    io.ReadCloser // data.tar, decompressed
	limit   *io.LimitedReader
	tar     *tar.Reader
	member  string
	paths   pathGuard
	entries int
	left    int64 // content bytes of the current entry not yet read
	err     error // sticky
}

// NewReader reads the head of a package, its control fields and scripts, from
// r. It reads no further than the beginning of data.tar, except for buffering.
func NewReader(r io.Reader) (*Reader, error) {
	ar, err := newArReader(r)
	if err != nil {
		return nil, err
	}
	d := &Reader{ar: ar}
	if err := d.readVersion(); err != nil {
		return nil, err
	}
	if err := d.readControl(); err != nil {
		return nil, err
	}
	if err := d.openData(); err != nil {
		return nil, err
	}
	return d, nil
}

// Fields are the fields of the control file. They are valid: Package, Version
// and Architecture are present.
func (d *Reader) Fields() Fields { return d.fields }

// ControlFiles maps the names in control.tar ("control", "postinst",
// "conffiles", "triggers") to their content.
func (d *Reader) ControlFiles() map[string][]byte { return d.control }

// Close releases the decompressor. It does not close the stream given to
// NewReader.
func (d *Reader) Close() error {
	if d.data == nil {
		return nil
	}
	return d.data.Close()
}

// readVersion checks the first member, which must be "2.x": other major
// versions are not readable by this code (deb(5)).
func (d *Reader) readVersion() error {
	name, size, err := d.ar.next()
	if err == io.EOF {
		return errors.New("ar: archive is empty")
	} else if err != nil {
		return err
	}
	if name != "debian-binary" {
		return fmt.Errorf("ar: first member is %q, not debian-binary", name)
	}
	if size > 64 {
		return fmt.Errorf("debian-binary: %d bytes is too long", size)
	}
	text, err := io.ReadAll(d.ar)
	if err != nil {
		return fmt.Errorf("debian-binary: %w", err)
	}
	if version := strings.TrimRight(string(text), "\n"); !strings.HasPrefix(version, "2.") {
		return fmt.Errorf("debian-binary: format version %q is not 2.x", version)
	}
	return nil
}

// nextTar finds the member called stem.tar[.gz|.xz|.zst|.bz2]; members whose
// name begins with an underscore are to be ignored (deb(5)).
func (d *Reader) nextTar(stem string) (io.ReadCloser, error) {
	for {
		name, _, err := d.ar.next()
		if err == io.EOF {
			return nil, fmt.Errorf("ar: no %s.tar member", stem)
		} else if err != nil {
			return nil, err
		}
		if strings.HasPrefix(name, "_") {
			continue
		}
		suffix, ok := strings.CutPrefix(name, stem+".tar")
		if !ok {
			return nil, fmt.Errorf("ar: member %q where %s.tar is due", name, stem)
		}
		d.member = name
		r, err := decompress(suffix, d.ar)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return r, nil
	}
}

func (d *Reader) openData() error {
	data, err := d.nextTar("data")
	if err != nil {
		return err
	}
	d.data = data
	d.limit = &io.LimitedReader{R: data, N: MaxDataSize}
	d.tar = tar.NewReader(d.limit)
	return nil
}
