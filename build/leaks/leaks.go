// Package leaks finds in a tree what must not be in an image that others get:
// private keys, development keys, and what has to differ from machine to
// machine: ssh host keys, machine ids, random seeds.
//
// It looks at every file, whatever its name, for private keys as text (PEM,
// OpenSSH, OpenPGP, PuTTY, age), and at small ones for keys in DER. A program
// that only knows how such a text begins is no finding, nor are keys compiled
// into a program of a Debian package: gnutls tests itself with one, and all the
// world has it. It does not look into archives, and does not know passwords when
// it sees them.
package leaks

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"slipway/build/tree"
)

// Options says where to look and for what.
type Options struct {
	Tree *tree.Tree
	// Development are the public keys, in PKIX DER, of development keys that
	// the image must not mention.
	Development [][]byte
	Workers     int // 0: as many as there are processors
	// Clean, if not nil, holds contents in which an earlier Find saw nothing
	// and which are passed over. Find adds to it. The keys mean something to
	// Find alone and are of no use with other Development keys.
	Clean map[[32]byte]bool
}

// Finding is one thing that must not be there.
type Finding struct {
	Path string // in the tree
	What string // "a private key (RSA PRIVATE KEY)"
}

// String is the finding as a problem in words.
func (f Finding) String() string { return fmt.Sprintf("/%s: %s", f.Path, f.What) }

// What keys look like. Line ends may be spelled out, as in JSON.
var (
	// privateKey matches what follows begin: the rest of the line, lines of
	// headers, and the key itself, of which programs have none.
	privateKey = regexp.MustCompile(`^([A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?)-----` +
		`(?:\s|\\[nr]|[A-Za-z-]+: [^\n]{1,200}\n)+[A-Za-z0-9+/]{24}`)
	puttyKey  = regexp.MustCompile(`^[0-9]: `)
	ageKey    = regexp.MustCompile(`^[0-9A-Z]{50}`)
	machineID = regexp.MustCompile(`^[0-9a-fA-F-]{32,36}\s*$`)
)

const (
	begin   = "-----BEGIN "
	chunk   = 1 << 20  // bytes read at once
	overlap = 8 << 10  // bytes seen again with the next chunk
	small   = 16 << 10 // bytes; a key in DER is not larger
)

// Find looks through the tree. Findings are in the order of their paths, at
// most one a file.
func Find(ctx context.Context, o *Options) ([]Finding, error) {
	type job struct {
		path string
		node *tree.Node
		id   [32]byte
	}
	basis := o.basis()
	jobs := make(chan job)
	var mu sync.Mutex
	var found []Finding
	var errs []error
	var wg sync.WaitGroup
	for range cmp.Or(o.Workers, runtime.NumCPU()) {
		wg.Go(func() {
			buf := make([]byte, chunk)
			for j := range jobs {
				what, err := look(j.path, j.node, o, buf)
				mu.Lock()
				if err != nil {
					errs = append(errs, fmt.Errorf("/%s: %w", j.path, err))
				} else if what != "" {
					found = append(found, Finding{j.path, what})
				} else if o.Clean != nil {
					o.Clean[j.id] = true
				}
				mu.Unlock()
			}
		})
	}
	for p, n := range o.Tree.All() {
		if n.Type != tree.File || n.Size() == 0 || ctx.Err() != nil {
			continue
		}
		j := job{p, n, contentID(basis, n)}
		mu.Lock()
		clean := o.Clean[j.id] && !telling(p)
		mu.Unlock()
		if !clean {
			jobs <- j
		}
	}
	close(jobs)
	wg.Wait()
	slices.SortFunc(found, func(a, b Finding) int { return strings.Compare(a.Path, b.Path) })
	return found, errors.Join(append(errs, ctx.Err())...)
}

// rules is another one whenever Find learns to find more.
const rules = "slipway leaks 1\n"

// basis is what, beside a content, decides about it.
func (o *Options) basis() []byte {
	h := sha256.New()
	h.Write([]byte(rules))
	for _, der := range o.Development {
		fmt.Fprintf(h, "%d ", len(der))
		h.Write(der)
	}
	return h.Sum(nil)
}

// contentID names a content in Options.Clean.
func contentID(basis []byte, n *tree.Node) [32]byte {
	sum := n.Blob.SHA256()
	return sha256.Sum256(slices.Concat(basis, sum[:], []byte(fmt.Sprint(ofPackage(n)))))
}

// ofPackage says that everybody has the file.
func ofPackage(n *tree.Node) bool { return strings.HasPrefix(n.Origin, "package ") }

// look says what is wrong with one file, "" if nothing.
func look(p string, n *tree.Node, o *Options, buf []byte) (what string, err error) {
	r, err := n.Blob.Open()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	public := false // a program that everybody has
	kept := 0       // bytes of the last chunk at the front of buf
	for first := true; ; first = false {
		got, err := io.ReadFull(r, buf[kept:])
		text := buf[:kept+got]
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return "", err
		}
		if first {
			public = ofPackage(n) && bytes.HasPrefix(text, []byte("\x7fELF"))
			if what := lookName(p, text); what != "" {
				return what, nil
			}
			if last && len(text) <= small {
				if what := lookDER(text); what != "" {
					return what, nil
				}
			}
		}
		if what := lookText(text, public, o); what != "" || last {
			return what, nil
		}
		kept = copy(buf, text[len(text)-overlap:])
	}
}

// telling says that the name of a file may be enough to refuse it.
func telling(p string) bool {
	return lookName(p, nil) != "" || path.Base(p) == "machine-id"
}

// lookName judges by the name what a file with this beginning is.
func lookName(p string, text []byte) string {
	base := path.Base(p)
	switch host, _ := path.Match("ssh_host_*_key*", base); {
	case host:
		return "an ssh host key, which every machine makes for itself"
	case base == "machine-id" && machineID.Match(text):
		return "a machine id, which every machine makes for itself"
	case base == "random-seed", base == "credential.secret" && strings.Contains(p, "systemd"):
		return "a random seed, which every machine makes for itself"
	}
	return ""
}

// lookDER recognises private keys in DER.
func lookDER(data []byte) string {
	if data[0] != 0x30 { // a SEQUENCE
		return ""
	}
	if _, err := x509.ParsePKCS8PrivateKey(data); err == nil {
		return "a private key (PKCS#8)"
	}
	if _, err := x509.ParsePKCS1PrivateKey(data); err == nil {
		return "a private key (PKCS#1)"
	}
	if _, err := x509.ParseECPrivateKey(data); err == nil {
		return "a private key (SEC 1)"
	}
	return ""
}

// lookText recognises keys as text, and development keys in any form.
func lookText(text []byte, public bool, o *Options) string {
	for at := 0; ; {
		i := bytes.Index(text[at:], []byte(begin))
		if i < 0 {
			break
		}
		at += i + len(begin)
		window := text[at:min(len(text), at+overlap)]
		if m := privateKey.FindSubmatch(window); m != nil && !public {
			return "a private key (" + string(m[1]) + ")"
		}
		if bytes.HasPrefix(window, []byte("PUBLIC KEY-----")) {
			block, _ := pem.Decode(text[at-len(begin) : at+len(window)])
			if block != nil && slices.ContainsFunc(o.Development, func(der []byte) bool { return bytes.Equal(der, block.Bytes) }) {
				return "a development key"
			}
		}
	}
	for _, other := range []struct {
		begin, kind string
		rest        *regexp.Regexp
	}{{"PuTTY-User-Key-File-", "PuTTY", puttyKey}, {"AGE-SECRET-KEY-1", "age", ageKey}} {
		i := bytes.Index(text, []byte(other.begin))
		if i >= 0 && other.rest.Match(text[i+len(other.begin):]) {
			return "a private key (" + other.kind + ")"
		}
	}
	for _, der := range o.Development {
		if bytes.Contains(text, der) {
			return "a development key"
		}
	}
	return ""
}
