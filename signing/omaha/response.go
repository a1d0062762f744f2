package omaha

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// Response is what a server answers.
type Response struct {
	XMLName  xml.Name       `xml:"response"`
	Protocol string         `xml:"protocol,attr"`
	Server   string         `xml:"server,attr,omitempty"`
	DayStart *DayStart      `xml:"daystart"`
	Apps     []*AppResponse `xml:"app"`
}

// DayStart is the server's clock.
type DayStart struct {
	ElapsedSeconds int `xml:"elapsed_seconds,attr"`
}

// AppResponse answers for one App of the request.
type AppResponse struct {
	ID          string               `xml:"appid,attr"`
	Status      string               `xml:"status,attr"` // "ok" or "error-..."
	Ping        *Status              `xml:"ping"`
	UpdateCheck *UpdateCheckResponse `xml:"updatecheck"`
	Events      []*Status            `xml:"event"`
}

// Status acknowledges a ping or an event.
type Status struct {
	Status string `xml:"status,attr"`
}

// The status of an update check; every other one is an error.
const (
	StatusOK       = "ok"
	StatusNoUpdate = "noupdate"
	statusError    = "error-"
)

// UpdateCheckResponse answers an UpdateCheck.
type UpdateCheckResponse struct {
	Status string `xml:"status,attr"`
	// PollInterval is when the server wants to be asked again, in seconds; 0
	// leaves it to the machine.
	PollInterval int         `xml:"PollInterval,attr,omitempty"`
	URLs         []*URL      `xml:"urls>url"`
	Manifests    []*Manifest `xml:"manifest"`
}

// URL is a place packages are at.
type URL struct {
	CodeBase string `xml:"codebase,attr"`
}

// Manifest describes one version. A server that answers with several wants
// them installed one after the other.
type Manifest struct {
	Version     string     `xml:"version,attr"`
	IsFloor     bool       `xml:"is_floor,attr,omitempty"` // must not be skipped
	FloorReason string     `xml:"floor_reason,attr,omitempty"`
	Packages    []*Package `xml:"packages>package"`
	Actions     []*Action  `xml:"actions>action"`
}

// Package is a file to download.
type Package struct {
	Name       string `xml:"name,attr"`           // joined to a URL
	Size       int64  `xml:"size,attr"`           // bytes
	SHA1       string `xml:"hash,attr,omitempty"` // base64; kept for old clients
	HashSHA256 string `xml:"hash_sha256,attr,omitempty"`
	Required   bool   `xml:"required,attr"`
}

// Action is what to do with the package; of interest is that of event
// "postinstall".
type Action struct {
	Event  string `xml:"event,attr"`
	SHA256 string `xml:"sha256,attr,omitempty"` // of the whole payload, base64
	// IsDelta says that the payload needs the version the machine runs.
	IsDelta               bool   `xml:"IsDeltaPayload,attr,omitempty"`
	DisplayVersion        string `xml:"DisplayVersion,attr,omitempty"`
	MaxFailureCountPerURL int    `xml:"MaxFailureCountPerUrl,attr,omitempty"`
	DisableBackoff        bool   `xml:"DisablePayloadBackoff,attr,omitempty"`
	NeedsAdmin            bool   `xml:"needsadmin,attr,omitempty"`
	Deadline              string `xml:"deadline,attr,omitempty"`
}

// ReadResponse reads a response and checks the protocol.
func ReadResponse(r io.Reader) (*Response, error) {
	p := new(Response)
	if err := decode(r, p); err != nil {
		return nil, fmt.Errorf("omaha response: %w", err)
	}
	if p.Protocol != Protocol {
		return nil, fmt.Errorf("omaha response: protocol %.20q, want %q", p.Protocol, Protocol)
	}
	return p, nil
}

// App finds the answer for an app.
func (p *Response) App(id string) (*AppResponse, bool) {
	for _, a := range p.Apps {
		if strings.EqualFold(a.ID, id) {
			return a, true
		}
	}
	return nil, false
}

// Update is an offer, checked.
type Update struct {
	Version string
	URLs    []string // of the payload, in the server's order of preference
	Size    int64    // of the payload, bytes
	SHA256  [32]byte // of the payload
	Delta   bool     // made against the version asked with
	Floor   bool     // a step on the way to the newest version
	Action  *Action
}

// ErrNoUpdate says that there is nothing newer.
var ErrNoUpdate = errors.New("no update")

// StatusError is a server that cannot answer, such as "error-noPackageFound".
type StatusError struct{ Status string }

// Error quotes the status, cut to a sane length.
func (e *StatusError) Error() string { return fmt.Sprintf("omaha response: status %.60q", e.Status) }

// Update gives what is offered, ErrNoUpdate, or why the answer is none. Of
// several manifests it is the first, which is the next step.
func (c *UpdateCheckResponse) Update() (*Update, error) {
	switch {
	case c.Status == StatusNoUpdate:
		return nil, ErrNoUpdate
	case c.Status != StatusOK:
		return nil, &StatusError{c.Status}
	case len(c.Manifests) == 0:
		return nil, errors.New("omaha response: an update without manifest")
	}
	m := c.Manifests[0]
	if len(m.Packages) == 0 {
		return nil, fmt.Errorf("omaha response: version %.40q without package", m.Version)
	}
	p := m.Packages[0]
	if p.Size <= 0 {
		return nil, fmt.Errorf("omaha response: package %.80q of %d bytes", p.Name, p.Size)
	}
	u := &Update{Version: m.Version, Size: p.Size, Floor: m.IsFloor}
	for _, a := range m.Actions {
		if a.Event == "postinstall" {
			u.Action, u.Delta = a, a.IsDelta
		}
	}
	if u.Action == nil {
		return nil, fmt.Errorf("omaha response: version %.40q without postinstall action", m.Version)
	}
	sum, err := base64.StdEncoding.DecodeString(u.Action.SHA256)
	if err != nil || len(sum) != len(u.SHA256) {
		return nil, fmt.Errorf("omaha response: sha256 %.60q: not one in base64", u.Action.SHA256)
	}
	u.SHA256 = [32]byte(sum)
	u.URLs, err = joinURLs(c.URLs, p.Name)
	return u, err
}

// joinURLs puts the package's name behind each base. Only http and https lead
// to a payload.
func joinURLs(bases []*URL, name string) ([]string, error) {
	if name == "" || strings.ContainsAny(name, "\\?#") || strings.Contains("/"+name+"/", "/../") {
		return nil, fmt.Errorf("omaha response: package %.80q: not a name", name)
	}
	var list []string
	for _, base := range bases {
		u, err := url.Parse(base.CodeBase)
		if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, fmt.Errorf("omaha response: codebase %.200q: not an http address", base.CodeBase)
		}
		list = append(list, strings.TrimSuffix(base.CodeBase, "/")+"/"+strings.TrimPrefix(name, "/"))
	}
	if len(list) == 0 {
		return nil, errors.New("omaha response: an update without url")
	}
	return list, nil
}
