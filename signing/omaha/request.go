package omaha

import (
	"encoding/xml"
	"fmt"
	"io"
)

// Request is what a machine posts.
type Request struct {
	XMLName       xml.Name `xml:"request"`
	Protocol      string   `xml:"protocol,attr"`
	Version       string   `xml:"version,attr,omitempty"`       // of the update engine
	InstallSource string   `xml:"installsource,attr,omitempty"` // "scheduler" or "ondemandupdate"
	IsMachine     int      `xml:"ismachine,attr,omitempty"`
	OS            *OS      `xml:"os"`
	Apps          []*App   `xml:"app"`
}

// OS describes the machine's operating system.
type OS struct {
	Platform    string `xml:"platform,attr,omitempty"`
	Version     string `xml:"version,attr,omitempty"`
	ServicePack string `xml:"sp,attr,omitempty"` // version and architecture, "1.2.3_x86_64"
	Arch        string `xml:"arch,attr,omitempty"`
}

// App is one thing that can be updated: of a machine, its operating system.
type App struct {
	ID           string `xml:"appid,attr"`
	Version      string `xml:"version,attr"`
	Track        string `xml:"track,attr,omitempty"` // the channel
	FromTrack    string `xml:"from_track,attr,omitempty"`
	BootID       string `xml:"bootid,attr,omitempty"`
	OEM          string `xml:"oem,attr,omitempty"`
	OEMVersion   string `xml:"oemversion,attr,omitempty"`
	AlephVersion string `xml:"alephversion,attr,omitempty"` // what was first installed
	MachineID    string `xml:"machineid,attr,omitempty"`
	MachineAlias string `xml:"machinealias,attr,omitempty"`
	Lang         string `xml:"lang,attr,omitempty"`
	Board        string `xml:"board,attr,omitempty"` // "amd64-usr"
	// DeltaOK says that the machine can apply a payload made against exactly
	// Version.
	DeltaOK         bool         `xml:"delta_okay,attr"`
	MultiManifestOK bool         `xml:"multi_manifest_ok,attr,omitempty"`
	Ping            *Ping        `xml:"ping"`
	UpdateCheck     *UpdateCheck `xml:"updatecheck"`
	Events          []*Event     `xml:"event"`
}

// Ping says that the machine is in use.
type Ping struct {
	Active int `xml:"active,attr,omitempty"`
}

// UpdateCheck asks for an update.
type UpdateCheck struct {
	TargetVersionPrefix string `xml:"targetversionprefix,attr,omitempty"`
}

// Event says how far an update has come.
type Event struct {
	Type            EventType   `xml:"eventtype,attr"`
	Result          EventResult `xml:"eventresult,attr"`
	ErrorCode       int         `xml:"errorcode,attr,omitempty"`
	PreviousVersion string      `xml:"previousversion,attr,omitempty"`
}

// EventType is what has happened.
type EventType int

// The events update_engine sends.
const (
	EventUnknown          EventType = 0
	EventUpdateComplete   EventType = 3 // installed, or running after the reboot: see EventResult
	EventDownloadStarted  EventType = 13
	EventDownloadFinished EventType = 14
)

// String names the event.
func (t EventType) String() string {
	switch t {
	case EventUpdateComplete:
		return "update complete"
	case EventDownloadStarted:
		return "download started"
	case EventDownloadFinished:
		return "download finished"
	}
	return fmt.Sprintf("event %d", int(t))
}

// EventResult is how it ended.
type EventResult int

// The results update_engine sends.
const (
	ResultError         EventResult = 0
	ResultSuccess       EventResult = 1
	ResultSuccessReboot EventResult = 2 // runs after the reboot
)

// String names the result.
func (r EventResult) String() string {
	switch r {
	case ResultError:
		return "error"
	case ResultSuccess:
		return "success"
	case ResultSuccessReboot:
		return "success after reboot"
	}
	return fmt.Sprintf("result %d", int(r))
}

// ReadRequest reads and checks a request.
func ReadRequest(r io.Reader) (*Request, error) {
	q := new(Request)
	if err := decode(r, q); err != nil {
		return nil, fmt.Errorf("omaha request: %w", err)
	}
	if q.Protocol != Protocol {
		return nil, fmt.Errorf("omaha request: protocol %.20q, want %q", q.Protocol, Protocol)
	}
	for _, a := range q.Apps {
		if a.ID == "" {
			return nil, fmt.Errorf("omaha request: app without appid")
		}
	}
	return q, nil
}
