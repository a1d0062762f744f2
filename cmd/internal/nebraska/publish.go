package nebraska

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// Package is a release as machines get it.
type Package struct {
	App         string // application, by its id
	Name        string // of the system, for descriptions
	Version     string
	Arch        string // Debian's word
	Channel     string // and the track of machines
	URL         string // of the directory that holds the payload
	File        string // of the payload, in there
	Size        int64
	SHA1        [20]byte
	SHA256      [32]byte
	FloorReason string // why no machine may skip the version; "" if it may
}

// packageType is Nebraska's number for an update of the operating system.
const packageType = 1

// newColor is that of channels that are made, on Nebraska's pages.
const newColor = "#5b7fa6"

// ErrOtherBytes says that the version is published already, with another
// payload.
var ErrOtherBytes = errors.New("published before with another payload")

// arch is Nebraska's number for an architecture.
func arch(name string) (int, error) {
	switch name {
	case "amd64":
		return 1, nil
	case "arm64":
		return 2, nil
	}
	return 0, fmt.Errorf("nebraska: architecture %q: it knows amd64 and arm64", name)
}

// publication is one release on its way.
type publication struct {
	*Server
	p    *Package
	arch int
	app  *application
	say  func(string)
}

// Publish registers a package, points its channel at it and sees to a group of
// machines that follows the channel. It says what it changes, a line each,
// before it does; nothing if all is as it should be. What was changed before an
// error stays, and doing it again goes on.
func (s *Server) Publish(ctx context.Context, p *Package, say func(string)) error {
	number, err := arch(p.Arch)
	if err != nil {
		return err
	}
	w := &publication{Server: s, p: p, arch: number, say: say}
	if w.app, err = s.application(ctx, p.App); err != nil {
		return err
	}
	id, err := w.register(ctx)
	if err != nil {
		return err
	}
	channel, err := w.point(ctx, id)
	if err != nil {
		return err
	}
	if err := w.floor(ctx, channel, id); err != nil {
		return err
	}
	return w.group(ctx, channel)
}

// packageConfig is a package as Nebraska wants it.
type packageConfig struct {
	App         string   `json:"application_id"`
	Type        int      `json:"type"`
	Version     string   `json:"version"`
	Arch        int      `json:"arch"`
	URL         string   `json:"url"`
	File        string   `json:"filename"`
	Description string   `json:"description"`
	Size        string   `json:"size"`
	Hash        string   `json:"hash"` // SHA-1 in base64
	Blacklist   []string `json:"channels_blacklist"`
	// Action is called flatcarAction in the specification, and this by the
	// server.
	Action action `json:"flatcar_action"`
}

func (w *publication) config() *packageConfig {
	return &packageConfig{
		App: w.app.ID, Type: packageType, Version: w.p.Version, Arch: w.arch, URL: w.p.URL, File: w.p.File,
		Description: w.p.Name + " " + w.p.Version, Size: fmt.Sprint(w.p.Size),
		Hash: base64.StdEncoding.EncodeToString(w.p.SHA1[:]), Blacklist: []string{},
		Action: action{SHA256: base64.StdEncoding.EncodeToString(w.p.SHA256[:])},
	}
}

// register makes the package, or finds it, and gives its id: "" for one that
// was not made because of DryRun.
func (w *publication) register(ctx context.Context) (string, error) {
	old, err := w.pack(ctx, w.app.ID, w.p.Version, w.arch)
	if err != nil {
		return "", err
	}
	want := w.config()
	if old == nil {
		w.say(fmt.Sprintf("register package %s for %s: %s bytes at %s%s",
			want.Version, w.p.Arch, want.Size, want.URL, want.File))
		made := new(pack)
		err := w.change(ctx, http.MethodPost, appPath(w.app.ID, "packages"), want, made)
		return made.ID, err
	}
	switch {
	case old.Size != want.Size || old.Hash != want.Hash, old.Action == nil || old.Action.SHA256 != want.Action.SHA256:
		return "", fmt.Errorf("nebraska: package %s: %w: %s bytes with SHA-1 %s, this one is %s bytes with %s",
			want.Version, ErrOtherBytes, old.Size, old.Hash, want.Size, want.Hash)
	case old.URL == want.URL && old.Filename == want.File:
		return old.ID, nil
	}
	w.say(fmt.Sprintf("move package %s from %s%s to %s%s", want.Version, old.URL, old.Filename, want.URL, want.File))
	want.Action.ID = old.Action.ID
	want.Blacklist = append(want.Blacklist, old.Blacklist...)
	return old.ID, w.change(ctx, http.MethodPut, appPath(w.app.ID, "packages", old.ID), want, nil)
}

// channelConfig is a channel as Nebraska wants it.
type channelConfig struct {
	App       string `json:"application_id"`
	Name      string `json:"name"`
	Color     string `json:"color"`
	Arch      int    `json:"arch"`
	PackageID string `json:"package_id,omitempty"`
}

// point points the channel at the package, and makes it if there is none.
func (w *publication) point(ctx context.Context, id string) (*channel, error) {
	for i := range w.app.Channels {
		c := &w.app.Channels[i]
		if c.Name != w.p.Channel || c.Arch != w.arch {
			continue
		}
		if id != "" && c.PackageID == id {
			return c, nil
		}
		w.say(fmt.Sprintf("point channel %s at %s", c.Name, w.p.Version))
		return c, w.change(ctx, http.MethodPut, appPath(w.app.ID, "channels", c.ID),
			&channelConfig{w.app.ID, c.Name, c.Color, c.Arch, id}, nil)
	}
	w.say(fmt.Sprintf("make channel %s for %s, pointing at %s", w.p.Channel, w.p.Arch, w.p.Version))
	made := &channel{Name: w.p.Channel, Arch: w.arch}
	return made, w.change(ctx, http.MethodPost, appPath(w.app.ID, "channels"),
		&channelConfig{w.app.ID, w.p.Channel, newColor, w.arch, id}, made)
}

// floor marks the version as one that no machine of the channel may skip.
func (w *publication) floor(ctx context.Context, c *channel, id string) error {
	if w.p.FloorReason == "" {
		return nil
	}
	if c.ID != "" && id != "" {
		known, err := w.isFloor(ctx, c.ID, id)
		if known || err != nil {
			return err
		}
	}
	w.say(fmt.Sprintf("make %s a floor of channel %s", w.p.Version, c.Name))
	reason := map[string]string{"floor_reason": w.p.FloorReason}
	return w.change(ctx, http.MethodPut, floorsPath(c.ID)+"/"+url.PathEscape(id), reason, nil)
}

func floorsPath(channel string) string { return "/api/channels/" + url.PathEscape(channel) + "/floors" }

// isFloor says whether a package is a floor of a channel, for that reason.
func (w *publication) isFloor(ctx context.Context, channel, id string) (bool, error) {
	var list struct {
		Packages []struct {
			ID     string `json:"id"`
			Reason string `json:"floor_reason"`
		} `json:"packages"`
	}
	query := url.Values{"page": {"1"}, "perpage": {fmt.Sprint(1000)}}
	err := w.do(ctx, http.MethodGet, floorsPath(channel)+"?"+query.Encode(), nil, &list)
	for _, p := range list.Packages {
		if p.ID == id && p.Reason == w.p.FloorReason {
			return true, err
		}
	}
	return false, err
}

// groupConfig is a group as Nebraska wants it: here one that is updated without
// limits, which are the administrator's to set.
type groupConfig struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Track       string `json:"track"`
	ChannelID   string `json:"channel_id"`
	Enabled     bool   `json:"policy_updates_enabled"`
	Timezone    string `json:"policy_timezone"`
	Interval    string `json:"policy_period_interval"`
	Most        int    `json:"policy_max_updates_per_period"`
	Timeout     string `json:"policy_update_timeout"`
}

// group sees to it that machines of the track follow the channel.
func (w *publication) group(ctx context.Context, c *channel) error {
	for _, g := range w.app.Groups {
		if g.Track != w.p.Channel || g.Channel == nil || g.Channel.Arch != w.arch {
			continue
		}
		if g.Channel.Name != c.Name {
			return fmt.Errorf("nebraska: group %q: machines of track %s follow channel %s: change that on Nebraska's page",
				g.Name, g.Track, g.Channel.Name)
		}
		if !g.UpdatesEnabled {
			w.say(fmt.Sprintf("group %q is left as it is: its updates are switched off", g.Name))
		}
		return nil
	}
	name := fmt.Sprintf("%s (%s)", w.p.Channel, w.p.Arch)
	w.say(fmt.Sprintf("make group %q for machines of track %s", name, w.p.Channel))
	return w.change(ctx, http.MethodPost, appPath(w.app.ID, "groups"), &groupConfig{
		Name: name, Description: "made by slipway publish", Track: w.p.Channel, ChannelID: c.ID, Enabled: true,
		Timezone: "UTC", Interval: "1 minutes", Most: 999999, Timeout: "60 minutes",
	}, nil)
}
