package updateengine

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"slipway/cmd/internal/download"
	"slipway/cmd/internal/updatebus"
	"slipway/cmd/internal/updateconf"
	"slipway/signing/omaha"
)

// answerLimit is how long a server may take for an answer.
const answerLimit = 2 * time.Minute

// offer is an update that a server offers.
type offer struct {
	update *omaha.Update
}

// id is the digest of the payload in hex, under which it is remembered.
func (o *offer) id() string { return hex.EncodeToString(o.update.SHA256[:]) }

// talk is one conversation with the server that update.conf names.
type talk struct {
	*Engine
	config *updateconf.Config
	source string // "scheduler" or "ondemandupdate"
	poll   time.Duration
}

// Install sources, as Omaha calls them.
const (
	bySchedule = "scheduler"
	onDemand   = "ondemandupdate"
)

// serverError is a server that answered with something else than an answer.
type serverError struct {
	code       int
	retryAfter time.Duration
}

func (e *serverError) Error() string {
	return fmt.Sprintf("update server: %d %s", e.code, http.StatusText(e.code))
}

// check asks for an update; nil, without an error, is none. Events that wait
// are told on the way.
func (t *talk) check(ctx context.Context, deltaOK bool) (*offer, error) {
	app := t.app(t.config.Group, t.config.MachineAlias)
	app.DeltaOK, app.MultiManifestOK = deltaOK, true
	app.Ping, app.UpdateCheck = &omaha.Ping{Active: 1}, &omaha.UpdateCheck{}
	events := t.state.Events
	app.Events = events
	answer, err := t.send(ctx, app)
	if err != nil {
		return nil, err
	}
	t.state.Events = t.state.Events[len(events):]
	t.state.LastChecked = t.Now().Unix()
	t.set(func(s *updatebus.Status) { s.LastChecked = t.state.LastChecked })
	t.save()
	if answer.UpdateCheck == nil {
		return nil, errors.New("omaha response: no updatecheck")
	}
	t.poll = time.Duration(answer.UpdateCheck.PollInterval) * time.Second
	update, err := answer.UpdateCheck.Update()
	if errors.Is(err, omaha.ErrNoUpdate) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &offer{update}, nil
}

// tell tells the server how an update goes. What does not get through is told
// with the next check.
func (t *talk) tell(ctx context.Context, e *omaha.Event) {
	app := t.app(t.config.Group, t.config.MachineAlias)
	app.Events = []*omaha.Event{e}
	if _, err := t.send(ctx, app); err != nil {
		t.say("not told the server of %s, %s: %v", e.Type, e.Result, err)
		if e.Type == omaha.EventUpdateComplete {
			t.queue(e)
			t.save()
		}
	}
}

// send posts one app and returns the server's answer for it.
func (t *talk) send(ctx context.Context, app *omaha.App) (*omaha.AppResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	var body bytes.Buffer
	err := omaha.Encode(&body, &omaha.Request{
		Protocol: omaha.Protocol, Version: "slipway-" + t.boot.Version, InstallSource: t.source, IsMachine: 1,
		OS:   &omaha.OS{Platform: "CoreOS", Version: "Chateau", ServicePack: t.boot.Version + "_x86_64", Arch: t.host.architecture},
		Apps: []*omaha.App{app},
	})
	if err != nil {
		return nil, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, t.config.Server, &body)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Content-Type", "text/xml")
	client := *t.Client
	client.CheckRedirect = sameServer
	r, err := client.Do(q)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, &serverError{r.StatusCode, download.RetryAfter(r.Header)}
	}
	p, err := omaha.ReadResponse(io.LimitReader(r.Body, omaha.MaxSize+1))
	if err != nil {
		return nil, err
	}
	answer, ok := p.App(app.ID)
	if !ok {
		return nil, fmt.Errorf("omaha response: nothing about app %s", app.ID)
	}
	if answer.Status != omaha.StatusOK {
		return nil, &omaha.StatusError{Status: answer.Status}
	}
	return answer, nil
}

// sameServer lets an update server send its machines elsewhere on itself only,
// or to TLS: who may offer updates is the administrator's choice.
func sameServer(next *http.Request, via []*http.Request) error {
	first := via[0].URL
	safe := next.URL.Scheme == first.Scheme || next.URL.Scheme == "https"
	if len(via) >= 5 || next.URL.Hostname() != first.Hostname() || !safe {
		return fmt.Errorf("redirect to %s://%s refused", next.URL.Scheme, next.URL.Host)
	}
	return nil
}
