// Package unit knows units as fleet knows them: systemd unit files whose
// section [X-Fleet] says where in the cluster they run. It parses and checks
// them, takes names apart and replaces specifiers. The rules, the wording of
// the errors and the hash are those of fleet 1.0.
//
// The package does not decide where a unit runs (package schedule) and knows
// nothing of the rest of a unit file, which is systemd's.
package unit

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	sdunit "github.com/coreos/go-systemd/v22/unit"
)

// State is what is wanted of a unit, or what has become of it on its machine.
type State string

// The states of a unit. They say what fleet has done with it; whether its
// processes run is told by systemd.
const (
	Inactive State = "inactive" // known to the cluster only
	Loaded   State = "loaded"   // its file is on a machine
	Launched State = "launched" // systemd was told to start it
)

// ParseState checks a state given from outside.
func ParseState(s string) (State, error) {
	if state := State(s); slices.Contains([]State{Inactive, Loaded, Launched}, state) {
		return state, nil
	}
	return Inactive, fmt.Errorf("invalid value %q for JobState", s)
}

// MaxSize bounds a unit file, in bytes.
const MaxSize = 64 << 10

// section holds what is meant for the cluster.
const section = "X-Fleet"

// Option is a line of a unit file.
type Option struct {
	Section string `json:"section,omitempty"`
	Name    string `json:"name,omitempty"`
	Value   string `json:"value,omitempty"`
}

// File is a unit file: its options in order. Comments are not kept.
type File struct {
	Options []Option
}

// Parse reads a unit file.
func Parse(text []byte) (*File, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("unit is %d bytes, at most %d", len(text), MaxSize)
	}
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("unit is not UTF-8 in line %d", firstInvalidLine(text))
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, errors.New("unit has a zero byte")
	}
	options, err := sdunit.DeserializeOptions(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	f := &File{Options: make([]Option, len(options))}
	for i, o := range options {
		f.Options[i] = Option{o.Section, o.Name, o.Value}
	}
	return f, nil
}

func firstInvalidLine(text []byte) int {
	line := 1
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r == utf8.RuneError && n <= 1 {
			break
		}
		if r == '\n' {
			line++
		}
		text = text[n:]
	}
	return line
}

// Bytes is the file as fleet writes and hashes it: one block for each section.
func (f *File) Bytes() []byte {
	options := make([]*sdunit.UnitOption, len(f.Options))
	for i, o := range f.Options {
		options[i] = sdunit.NewUnitOption(o.Section, o.Name, o.Value)
	}
	text, err := io.ReadAll(sdunit.Serialize(options))
	if err != nil {
		panic("internal error: reading from memory: " + err.Error())
	}
	return text
}

// Hash is the SHA-1 of Bytes in hexadecimal. It tells versions of a unit
// apart and secures nothing.
func (f *File) Hash() string { return fmt.Sprintf("%x", sha1.Sum(f.Bytes())) }

// ShortHash is a hash as lists show it.
func ShortHash(hash string) string { return hash[:min(len(hash), 7)] }

// Description is the option of that name, "" if there is none.
func (f *File) Description() string {
	for _, o := range f.Options {
		if o.Section == "Unit" && o.Name == "Description" {
			return o.Value
		}
	}
	return ""
}

// Installable says whether the file has a section [Install]: systemd is then
// told to enable the unit.
func (f *File) Installable() bool {
	return slices.ContainsFunc(f.Options, func(o Option) bool { return o.Section == "Install" })
}

// survives says whether options that did not come from a file mean the same
// after they were written to one.
func (f *File) survives() error {
	text := f.Bytes()
	again, err := Parse(text)
	if err != nil {
		return err
	}
	if len(again.Options) != len(f.Options) || !bytes.Equal(again.Bytes(), text) {
		return errors.New("options do not make a unit file: one holds line breaks, blanks at an end or a section")
	}
	for _, o := range f.Options {
		if strings.TrimSpace(o.Section) == "" || strings.TrimSpace(o.Name) == "" {
			return fmt.Errorf("option %q in section %q has no name or no section", o.Name, o.Section)
		}
	}
	return nil
}
