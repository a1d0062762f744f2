package signing

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// DevelopmentKeyName is the file DevelopmentKey keeps its key in.
	DevelopmentKeyName = "development-only.key"

	// developmentMark makes a key a development key; it is text in front of
	// the PEM block, which every reader of PEM passes over.
	developmentMark = "slipway DEVELOPMENT key"
	developmentText = developmentMark + `: its private half lies unencrypted on somebody's machine.
Do not release what it signs.
`
)

// DevelopmentKey loads the development key kept in dir, making both on first
// use (directory mode 0700, file mode 0600); created says that it did. Several
// processes may call it at once: all get the same key. The key is an Ed25519
// key and differs from machine to machine, so images signed by it do too.
func DevelopmentKey(dir string) (s Signer, created bool, err error) {
	path := filepath.Join(dir, DevelopmentKeyName)
	text, err := readKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if created, err = makeDevelopmentKey(dir, path); err == nil {
			text, err = readKeyFile(path)
		}
	}
	if err != nil {
		return nil, false, fmt.Errorf("development key: %w", err)
	}
	s, err = parsePrivate(text, nil)
	if err != nil {
		return nil, false, fmt.Errorf("development key %s: %w", path, err)
	}
	if !s.Development() {
		return nil, false, fmt.Errorf("development key %s: the file is not marked as one", path)
	}
	return s, created, nil
}

// makeDevelopmentKey writes a new key aside and links it into place, which
// fails when another process was first; that one's key then counts.
func makeDevelopmentKey(dir, path string) (created bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return false, err
	}
	text, err := EncodePrivate(private, nil, true)
	if err != nil {
		return false, err
	}
	aside, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.Remove(aside.Name())) }()
	_, err = aside.Write(text)
	if err = errors.Join(err, aside.Sync(), aside.Close()); err != nil {
		return false, err
	}
	err = os.Link(aside.Name(), path)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}
