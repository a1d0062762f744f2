package deb

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Fields are the fields of a control file by name, folded lines joined by
// newlines as they stand in the file.
type Fields map[string]string

// ParseFields reads one paragraph of the deb822 format (deb-control(5)).
func ParseFields(text []byte) (Fields, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("control: not valid UTF-8")
	}
	fields, last := Fields{}, ""
	number := 0
	for line := range strings.Lines(strings.TrimRight(string(text), "\n")) {
		number++
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			return nil, fmt.Errorf("control: line %d: a second paragraph", number)
		case line[0] == ' ' || line[0] == '\t':
			if last == "" {
				return nil, fmt.Errorf("control: line %d: continues no field", number)
			}
			fields[last] += "\n" + line
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok || name == "" || strings.ContainsAny(name, " \t") {
				return nil, fmt.Errorf("control: line %d: %q is not a field", number, line)
			}
			if _, twice := fields[name]; twice {
				return nil, fmt.Errorf("control: line %d: field %s is set twice", number, name)
			}
			fields[name], last = strings.TrimSpace(value), name
		}
	}
	return fields, nil
}

// validate checks what every binary package must have.
func (f Fields) validate() error {
	for _, name := range []string{"Package", "Version", "Architecture"} {
		if f[name] == "" {
			return fmt.Errorf("control: no %s field", name)
		}
	}
	for i, c := range f["Package"] {
		ok := c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || i > 0 && strings.ContainsRune("+-.", c)
		if !ok {
			return fmt.Errorf("control: package name %q holds %q", f["Package"], c)
		}
	}
	if strings.ContainsAny(f["Version"], " /\n") {
		return fmt.Errorf("control: version %q", f["Version"])
	}
	return nil
}

// readControl reads control.tar whole.
func (d *Reader) readControl() error {
	r, err := d.nextTar("control")
	if err != nil {
		return err
	}
	defer r.Close()
	d.control, err = readControlTar(r)
	if err != nil {
		return fmt.Errorf("%s: %w", d.member, streamError(err))
	}
	text, ok := d.control["control"]
	if !ok {
		return fmt.Errorf("%s: no control file", d.member)
	}
	if d.fields, err = ParseFields(text); err != nil {
		return err
	}
	return d.fields.validate()
}

func readControlTar(r io.Reader) (map[string][]byte, error) {
	limited := &io.LimitedReader{R: r, N: MaxControlSize}
	files, t := map[string][]byte{}, tar.NewReader(limited)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return files, nil
		}
		if err == nil && h.Typeflag == tar.TypeDir {
			continue
		}
		var content []byte
		if err == nil {
			content, err = io.ReadAll(t)
		}
		if err != nil {
			if limited.N == 0 {
				return nil, fmt.Errorf("more than %d bytes", MaxControlSize)
			}
			return nil, err
		}
		name := strings.TrimPrefix(h.Name, "./")
		if h.Typeflag != tar.TypeReg || name == "" || strings.Contains(name, "/") {
			return nil, fmt.Errorf("%q is no control file", h.Name)
		}
		if _, twice := files[name]; twice {
			return nil, fmt.Errorf("%q is there twice", name)
		}
		files[name] = content
	}
}

// streamError makes the end of a stream in its middle readable.
func streamError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("file is truncated: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// Scripts are the maintainer scripts of the package by name: preinst,
// postinst, prerm, postrm and config, those that exist. They are control files
// too.
func (d *Reader) Scripts() map[string][]byte {
	found := map[string][]byte{}
	for _, name := range ScriptNames() {
		if content, ok := d.control[name]; ok {
			found[name] = content
		}
	}
	return found
}

// ScriptNames are the control files that are maintainer scripts: those of
// deb(5), and debconf's.
func ScriptNames() []string { return []string{"preinst", "postinst", "prerm", "postrm", "config"} }
