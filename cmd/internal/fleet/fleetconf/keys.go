package fleetconf

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// setter takes a value in.
type setter func(string) error

// keys are the keys of fleet.conf.
func (c *Config) keys() map[string]setter {
	ignored := func(string) error { return nil }
	return map[string]setter{
		"verbosity":                 number(&c.Verbosity, 0, 100),
		"etcd_servers":              c.setServers,
		"etcd_request_timeout":      seconds(&c.EtcdTimeout, minTimeout, maxTimeout),
		"etcd_cafile":               path(&c.EtcdCAFile),
		"etcd_certfile":             path(&c.EtcdCertFile),
		"etcd_keyfile":              path(&c.EtcdKeyFile),
		"etcd_username":             text(&c.EtcdUsername),
		"etcd_password":             text(&c.EtcdPassword),
		"etcd_key_prefix":           c.setPrefix,
		"public_ip":                 c.setPublicIP,
		"metadata":                  c.setMetadata,
		"agent_ttl":                 c.setTTL,
		"engine_reconcile_interval": seconds(&c.EngineInterval, minInterval, maxInterval),
		"disable_engine":            boolean(&c.DisableEngine),
		"token_limit":               number(&c.TokenLimit, 1, maxTokenLimit),
		"units_directory":           path(&c.UnitsDir),
		"systemd_user":              boolean(&c.SystemdUser),
		"api_socket":                path(&c.APISocket),
		"api_listen":                c.setListen,
		"api_cafile":                path(&c.APICAFile),
		"api_certfile":              path(&c.APICertFile),
		"api_keyfile":               path(&c.APIKeyFile),
		// Of fleet 1.0 and before; there is nothing here to turn on or off.
		"disable_watches":      ignored,
		"enable_grpc":          ignored,
		"verify_units":         ignored,
		"authorized_keys_file": ignored,
	}
}

// unquote takes one pair of quotes off.
func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

func text(to *string) setter {
	return func(s string) error { *to = s; return nil }
}

func path(to *string) setter {
	return func(s string) error {
		if s != "" && !filepath.IsAbs(s) {
			return fmt.Errorf("%.80q is not an absolute path", s)
		}
		*to = s
		return nil
	}
}

func number(to *int, low, high int) setter {
	return func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < low || n > high {
			return fmt.Errorf("%.40q is not a number from %d to %d", s, low, high)
		}
		*to = n
		return nil
	}
}

func boolean(to *bool) setter {
	return func(s string) error {
		b, err := strconv.ParseBool(strings.ToLower(s))
		if err != nil {
			return fmt.Errorf("%.40q is neither true nor false", s)
		}
		*to = b
		return nil
	}
}

// seconds takes a number of seconds, or a duration such as "30s".
func seconds(to *time.Duration, low, high time.Duration) setter {
	return func(s string) error {
		d, err := parseDuration(s)
		if err != nil {
			return err
		}
		if d < low || d > high {
			return fmt.Errorf("%s is not between %s and %s", d, low, high)
		}
		*to = d
		return nil
	}
}

func parseDuration(s string) (time.Duration, error) {
	if n, err := strconv.ParseFloat(s, 64); err == nil && n >= 0 && n < 1e6 {
		return time.Duration(n * float64(time.Second)), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not a time in seconds", s)
	}
	return d, nil
}

func (c *Config) setTTL(s string) error {
	if err := seconds(&c.AgentTTL, minTTL, maxTTL)(s); err != nil {
		return err
	}
	if c.AgentTTL%time.Second != 0 {
		return fmt.Errorf("%s is not in whole seconds", c.AgentTTL)
	}
	return nil
}

// setServers takes a list in JSON, or one with commas.
func (c *Config) setServers(s string) error {
	var list []string
	if strings.HasPrefix(s, "[") {
		if err := json.Unmarshal([]byte(s), &list); err != nil {
			return fmt.Errorf("%.80q is not a list such as [\"http://127.0.0.1:2379\"]", s)
		}
	} else {
		list = strings.Split(s, ",")
	}
	for i, server := range list {
		server = strings.TrimSpace(server)
		u, err := url.Parse(server)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("%.80q is not a URL such as http://127.0.0.1:2379", server)
		}
		list[i] = server
	}
	if len(list) == 0 {
		return errors.New("no server is named")
	}
	c.EtcdServers = list
	return nil
}

func (c *Config) setPrefix(s string) error {
	if strings.Trim(s, "/") == "" {
		return errors.New("prefix is empty")
	}
	c.EtcdPrefix = s
	return nil
}

func (c *Config) setPublicIP(s string) error {
	// People write "$private_ipv4" into cloud-configs and forget to have it
	// replaced.
	if s != "" && net.ParseIP(s) == nil {
		return fmt.Errorf("%.80q is not an IP address", s)
	}
	c.PublicIP = s
	return nil
}

// setMetadata takes "key=value,key=value".
func (c *Config) setMetadata(s string) error {
	m := map[string]string{}
	for pair := range strings.SplitSeq(s, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok || key == "" || value == "" || strings.ContainsAny(key, "/ ") {
			return fmt.Errorf("%.80q is not key=value", strings.TrimSpace(pair))
		}
		m[key] = value
	}
	c.Metadata = m
	return nil
}

func (c *Config) setListen(s string) error {
	if _, _, err := net.SplitHostPort(s); s != "" && err != nil {
		return fmt.Errorf("%.80q is not host:port", s)
	}
	c.APIListen = s
	return nil
}
