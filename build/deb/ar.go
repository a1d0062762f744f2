package deb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
	arMaxSize    = 1 << 40
)

// arReader reads the common ar format, as ar(5) describes it, without the
// long-name extensions, which deb(5) forbids. Between calls of next it is an
// io.Reader of the current member.
type arReader struct {
	r    io.Reader
	left int64 // bytes of the current member not yet read
	pad  bool  // an odd member is followed by one byte
}

func newArReader(r io.Reader) (*arReader, error) {
	var magic [len(arMagic)]byte
	if n, err := io.ReadFull(r, magic[:]); err != nil {
		if isTruncation(err) {
			return nil, fmt.Errorf("ar: file ends after %d bytes", n)
		}
		return nil, err
	}
	if string(magic[:]) != arMagic {
		return nil, fmt.Errorf("ar: not a Debian package: begins with %q", magic[:])
	}
	return &arReader{r: r}, nil
}

// next skips what is left of the current member and gives name and size of the
// following one, or io.EOF.
func (a *arReader) next() (name string, size int64, err error) {
	if err := a.skip(); err != nil {
		return "", 0, err
	}
	var h [arHeaderSize]byte
	switch n, err := io.ReadFull(a.r, h[:]); {
	case err == io.EOF:
		return "", 0, io.EOF
	case err == io.ErrUnexpectedEOF:
		return "", 0, fmt.Errorf("ar: file ends inside a member header, after %d of %d bytes",
			n, arHeaderSize)
	case err != nil:
		return "", 0, err
	}
	if h[58] != '`' || h[59] != '\n' {
		return "", 0, fmt.Errorf("ar: member header ends with %q", h[58:60])
	}
	name = string(bytes.TrimRight(h[0:16], " "))
	name = string(bytes.TrimSuffix([]byte(name), []byte("/")))
	if name == "" {
		return "", 0, errors.New("ar: member has no name")
	}
	text := string(bytes.TrimRight(h[48:58], " "))
	size, perr := strconv.ParseInt(text, 10, 64)
	if perr != nil || size < 0 || size > arMaxSize {
		return "", 0, fmt.Errorf("ar: member %q has size %q", name, text)
	}
	a.left, a.pad = size, size%2 == 1
	return name, size, nil
}

// Read reads from the current member. A file that ends inside the member gives
// io.ErrUnexpectedEOF.
func (a *arReader) Read(p []byte) (int, error) {
	if a.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > a.left {
		p = p[:a.left]
	}
	n, err := a.r.Read(p)
	a.left -= int64(n)
	if err == io.EOF {
		if a.left > 0 {
			return n, io.ErrUnexpectedEOF
		}
		err = nil
	}
	return n, err
}

func (a *arReader) skip() error {
	n, err := io.Copy(io.Discard, a)
	if err == io.ErrUnexpectedEOF {
		return fmt.Errorf("ar: file ends %d bytes before the member's end", a.left)
	} else if err != nil {
		return fmt.Errorf("ar: after %d bytes: %w", n, err)
	}
	if !a.pad {
		return nil
	}
	a.pad = false
	// Some writers leave out the padding after the last member.
	if _, err := io.ReadFull(a.r, make([]byte, 1)); err != nil && err != io.EOF {
		return err
	}
	return nil
}

func isTruncation(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }
