package overlays

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
)

// maxYAML bounds a YAML file; the largest of ours is a tenth of it.
const maxYAML = 4 << 20

// decodeFile reads a YAML file into value. A key that value has no field for,
// a key given twice and a wrong type are errors that begin with the file and
// the line; shown is the file's name in them.
func decodeFile(fsys fs.FS, name, shown string, value any) error {
	f, err := fsys.Open(name)
	if err != nil {
		return fmt.Errorf("open %s: %w", shown, cause(err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxYAML+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", shown, cause(err))
	}
	if len(text) > maxYAML {
		return fmt.Errorf("%s: larger than %d bytes", shown, maxYAML)
	}
	return decode(text, shown, value)
}

// decode is decodeFile on bytes at hand. The YAML package panics on a few
// kinds of nonsense (a tag without a value), which is a fault of the text.
func decode(text []byte, shown string, value any) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("%s: not understood as YAML: %v", shown, reason)
		}
	}()
	documents := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	err = documents.Decode(value)
	if err == nil && !errors.Is(documents.Decode(new(any)), io.EOF) {
		return fmt.Errorf("%s: more than one YAML document", shown)
	}
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	var unknown *yaml.UnknownFieldError
	if errors.As(err, &unknown) && unknown.Token != nil {
		key := unknown.Token.Value
		msg := fmt.Sprintf("%s:%d: unknown key %q", shown, unknown.Token.Position.Line, key)
		if near := nearestKey(reflect.TypeOf(value), key); near != "" {
			msg += fmt.Sprintf("; did you mean %q?", near)
		}
		return errors.New(msg)
	}
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		return fmt.Errorf("%s:%d: %s", shown, at.GetToken().Position.Line, at.GetMessage())
	}
	return fmt.Errorf("%s: %w", shown, err)
}

// cause drops the operation and path of a PathError, which the caller's
// message has already.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// nearestKey finds the yaml key, anywhere in the type, that differs from key
// by at most two letters.
func nearestKey(t reflect.Type, key string) string {
	best, distance := "", 3
	for _, known := range keysOf(t, map[reflect.Type]bool{}) {
		if d := editDistance(known, key); d < distance {
			best, distance = known, d
		}
	}
	return best
}

// keysOf lists the yaml keys of a struct type and of the types it holds.
func keysOf(t reflect.Type, seen map[reflect.Type]bool) []string {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return keysOf(t.Elem(), seen)
	case reflect.Struct:
	default:
		return nil
	}
	if seen[t] {
		return nil
	}
	seen[t] = true
	var keys []string
	for f := range t.Fields() {
		if tag, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); tag != "" {
			keys = append(keys, tag)
		}
		keys = append(keys, keysOf(f.Type, seen)...)
	}
	return keys
}

// editDistance is the number of single-letter changes between two words.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
