package tools

import (
	"bytes"
	"embed"
	"fmt"

	"slipway/build/lock"
)

// locks has one lock file for each group, written by provision.Lock.
//
//go:embed locks
var locks embed.FS

// Pinned gives the lock of a group as this version of slipway was made with.
func Pinned(group string) (*lock.Lock, error) {
	text, err := pinnedText(group)
	if err != nil {
		return nil, err
	}
	return lock.Read(bytes.NewReader(text), LockName(group))
}

func pinnedText(group string) ([]byte, error) {
	text, err := locks.ReadFile(LockName(group))
	if err != nil {
		return nil, fmt.Errorf("no packages are pinned: %w", err)
	}
	return text, nil
}

// lockText is the lock to go by, as a file. A tree that exists is found
// without understanding it.
func (o *Options) lockText() ([]byte, error) {
	if o.Lock == nil {
		return pinnedText(o.Group)
	}
	var b bytes.Buffer
	err := o.Lock.Write(&b)
	return b.Bytes(), err
}

// LockName is the path of a group's lock below the directory of this package.
func LockName(group string) string { return "locks/" + group + ".lock" }
