// Package overlays reads what goes into an image: layers (a directory with an
// overlay.yaml, a files/ tree, the maintainer scripts it stands in for and
// archive keys) and channels (which layers, in which order, from which
// suites), and merges the layers into one Config.
//
// It resolves no packages, touches no tree and knows nothing of how an image
// is written. The directories beside this file are the layers of this
// project; a downstream team adds its own.
package overlays

import (
	"fmt"
	"io/fs"
)

// Channel is the content of channels/NAME.yaml.
type Channel struct {
	Name string `yaml:"-"`
	// Description says in one line whom the channel is for.
	Description string `yaml:"description"`
	// Layers are the names of layer directories, first to last.
	Layers []string `yaml:"layers"`
	// Archive names the suites that packages come from.
	Archive Archive `yaml:"archive"`
}

// LoadChannel reads channels/NAME.yaml; fsys is the directory that holds
// channels/ and the layers. An unknown channel is an error that lists the
// known ones.
func LoadChannel(fsys fs.FS, name string) (*Channel, error) {
	file := "channels/" + name + ".yaml"
	if _, err := fs.Stat(fsys, file); !fs.ValidPath(file) || err != nil {
		return nil, &UnknownChannelError{Name: name, Known: Channels(fsys)}
	}
	c := &Channel{Name: name}
	if err := decodeFile(fsys, file, file, c); err != nil {
		return nil, err
	}
	return c, c.validate(file)
}

// Channels lists the channels of an overlays directory, in byte order.
func Channels(fsys fs.FS) []string {
	var names []string
	files, _ := fs.Glob(fsys, "channels/*.yaml") // the pattern is well formed
	for _, f := range files {
		names = append(names, f[len("channels/"):len(f)-len(".yaml")])
	}
	return names
}

// LoadLayers reads the layers a channel names from the overlays directory, in
// the channel's order.
func LoadLayers(fsys fs.FS, c *Channel) ([]*Layer, error) {
	var layers []*Layer
	for _, name := range c.Layers {
		sub, err := fs.Sub(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("channels/%s.yaml: layer %q: %w", c.Name, name, cause(err))
		}
		if _, err := fs.Stat(sub, "overlay.yaml"); err != nil {
			return nil, fmt.Errorf("channels/%s.yaml: layer %q: no %s/overlay.yaml",
				c.Name, name, name)
		}
		l, err := Load(sub, name)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	return layers, nil
}

// UnknownChannelError is returned for a channel that has no file.
type UnknownChannelError struct {
	Name  string
	Known []string
}

func (e *UnknownChannelError) Error() string {
	return fmt.Sprintf("channel %q: not one of %q", e.Name, e.Known)
}
