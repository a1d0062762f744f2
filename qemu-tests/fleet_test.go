package qemutests_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// testFleetContainer gives the machine, a fleet of its own, a unit that runs a
// container, as the layer's README shows it.
func (m *machine) testFleetContainer(t *testing.T) {
	m.run(t, `cat >hello@.service <<'E'
[Unit]
Description=Hello %i
After=docker.service
Requires=docker.service

[Service]
ExecStartPre=-/usr/bin/docker rm --force hello-%i
ExecStart=/usr/bin/docker run --rm --name hello-%i hello wait %i
ExecStop=/usr/bin/docker stop hello-%i
Restart=always

[X-Fleet]
Conflicts=%p@*.service
E`)
	const fleetctl = "fleetctl --request-timeout=60 "
	assert.Contains(t, m.run(t, fleetctl+"start hello@1"), "Unit hello@1.service launched on ")
	m.until(t, "docker logs hello-1 | grep -F 'hello from a container: [wait 1]'")
	m.until(t, fleetctl+`list-units --no-legend --fields=unit,active,sub | grep -Ex 'hello@1.service\s+active\s+running'`)
	assert.Equal(t, "hello-1", m.run(t, "docker ps --format '{{.Names}}'"))
	assert.Contains(t, m.run(t, fleetctl+"journal hello@1"), "hello from a container: [wait 1]")

	// A container that dies is started again, by systemd.
	m.run(t, "docker kill hello-1")
	m.until(t, "docker logs hello-1 | grep -F 'hello from a container: [wait 1]'")

	assert.Contains(t, m.run(t, fleetctl+"stop hello@1"), "Successfully stopped units [hello@1.service].")
	assert.Empty(t, m.run(t, "docker ps --format '{{.Names}}'"))
	assert.Contains(t, m.run(t, fleetctl+"journal hello@1"), "goodbye")
	assert.Equal(t, "Destroyed hello@1.service", m.run(t, fleetctl+"destroy hello@1"))
}
