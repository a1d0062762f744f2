package signing

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// maxKeyFile bounds what is read of a key file, in bytes.
const maxKeyFile = 64 << 10

// patience is how long a program may take to sign, unless told otherwise. A
// token may want to be touched first.
const patience = time.Minute

// Options says how references are opened.
type Options struct {
	// Dir is what relative paths start from; "" is the working directory.
	Dir string
	// Passwords gives the passwords to try on the encrypted key of that
	// reference. nil: there are none.
	Passwords func(ref string) ([][]byte, error)
	// Outside exchanges digests and signatures with who has the keys that are
	// not here. nil: of references of the kind "public:" only the public half
	// can be used.
	Outside *Outside
}

// path gives the place of a file a reference names.
func (o *Options) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(o.Dir, name)
}

// Open opens the key that a reference names; the package comment lists the
// kinds. Private keys in PEM may be PKCS#8, PKCS#1 or SEC 1, plain or encrypted
// as openssl (PBES2) or sigstore do it.
func Open(ctx context.Context, ref string, o *Options) (Signer, error) {
	var s Signer
	var err error
	kind, rest, _ := strings.Cut(ref, ":")
	switch {
	case ref == "":
		err = errors.New("empty reference")
	case kind == "public":
		s, err = openPublic(rest, o)
	case kind == "exec":
		s, err = openProgram(rest, o)
	case strings.Contains(ref, "://"):
		s, err = openKMS(ctx, ref)
	default:
		s, err = openFile(ref, o)
	}
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", ref, err)
	}
	return s, nil
}

// Rebase rewrites the relative paths in a reference that start from the
// directory from, so that they start from to: they become relative if they lead
// into it, absolute if not. Both directories are absolute.
func Rebase(ref, from, to string) string {
	move := func(name string) string {
		if !filepath.IsAbs(name) {
			name = filepath.Join(from, name)
		}
		if rel, err := filepath.Rel(to, name); err == nil && filepath.IsLocal(rel) {
			return rel
		}
		return name
	}
	kind, rest, _ := strings.Cut(ref, ":")
	switch {
	case kind == "public":
		return kind + ":" + move(rest)
	case kind == "exec":
		name, query, _ := strings.Cut(rest, "?")
		if strings.Contains(name, "/") {
			name = move(name)
			if !strings.Contains(name, "/") {
				name = "./" + name // not from $PATH
			}
		}
		if values, err := url.ParseQuery(query); err == nil && values.Has("pub") {
			values.Set("pub", move(values.Get("pub")))
			query = values.Encode()
		}
		return kind + ":" + name + "?" + query
	case strings.Contains(ref, "://"):
		return ref
	}
	return move(ref)
}

// openFile opens a private key in a PEM file.
func openFile(ref string, o *Options) (Signer, error) {
	text, err := readKeyFile(o.path(ref))
	if err != nil {
		return nil, err
	}
	var passwords func() ([][]byte, error)
	if o.Passwords != nil {
		passwords = func() ([][]byte, error) { return o.Passwords(ref) }
	}
	return parsePrivate(text, passwords)
}

func readKeyFile(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, path.Err
	} else if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxKeyFile {
		return nil, fmt.Errorf("not a file of at most %d bytes", maxKeyFile)
	}
	return os.ReadFile(path)
}
