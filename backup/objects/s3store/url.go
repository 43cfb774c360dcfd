package s3store

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/quire-db/quire/backup/objects"
)

// place is what a URL names.
type place struct {
	bucket    string
	prefix    string // empty, or ends with a slash
	endpoint  string // empty when AWS's
	region    string // empty when the environment's
	pathStyle *bool  // nil when not said
}

const form = "s3://bucket/prefix?endpoint=URL&region=NAME&path-style=BOOL"

// parse reads a URL. Its errors name parts and never repeat what may be a secret:
// of the URL as a whole they have nothing.
func parse(u *url.URL) (p place, err error) {
	defer func() {
		if err != nil {
			err = objects.BadURL(fmt.Errorf("s3store: the URL is no %s: %w", form, err))
		}
	}()
	switch {
	case u.User != nil:
		return p, errors.New("it has a user: credentials belong in the AWS environment or a profile, never in a URL")
	case u.Fragment != "":
		return p, errors.New("what follows # is no part of a key: write %23")
	case !isBucket(u.Host):
		return p, fmt.Errorf("%q is no name of a bucket", u.Host)
	}
	p.bucket = u.Host
	if p.prefix, err = parsePrefix(u.Path); err != nil {
		return p, err
	}
	return p, p.parseQuery(u.RawQuery)
}

// isBucket leaves the finer rules, which differ between servers, to the server.
func isBucket(name string) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(".-_", c) {
			return false
		}
	}
	return len(name) >= 3 && len(name) <= 255
}

// parsePrefix takes "/a/b" and "/a/b/" for "a/b/".
func parsePrefix(path string) (string, error) {
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	if path == "" {
		return "", nil
	}
	if len(path) > MaxPrefix {
		return "", fmt.Errorf("its prefix has %d bytes, more than %d", len(path), MaxPrefix)
	}
	if !utf8.ValidString(path) || strings.ContainsFunc(path, unicode.IsControl) {
		return "", errors.New("its prefix has bytes that are no text")
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return "", fmt.Errorf("its prefix has the part %q, which tools and servers tidy away", part)
		}
	}
	return path + "/", nil
}

func (p *place) parseQuery(raw string) error {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return errors.New("what follows ? cannot be read")
	}
	for option, values := range query {
		if len(values) != 1 || values[0] == "" {
			return fmt.Errorf("its option %q must have one value", option)
		}
		if err := p.set(option, values[0]); err != nil {
			return err
		}
	}
	return nil
}

func (p *place) set(option, value string) error {
	switch option {
	case "endpoint":
		if !isEndpoint(value) {
			return errors.New("its endpoint is no http://host:port or https://host:port, without user, path and query")
		}
		p.endpoint = strings.TrimSuffix(value, "/")
	case "region":
		p.region = value
	case "path-style":
		is, err := strconv.ParseBool(value)
		if err != nil {
			return errors.New("its path-style is neither true nor false")
		}
		p.pathStyle = &is
	default:
		return fmt.Errorf("it has no option %q", option)
	}
	return nil
}

// isEndpoint takes only what can stand in a query as it is.
func isEndpoint(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && !strings.ContainsAny(raw, "%&+;#") && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil &&
		(u.Path == "" || u.Path == "/") && u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}

func (p place) String() string {
	u := url.URL{Scheme: "s3", Host: p.bucket, Path: strings.TrimSuffix("/"+p.prefix, "/")}
	var query []string
	if p.endpoint != "" {
		query = append(query, "endpoint="+p.endpoint)
	}
	if p.region != "" {
		query = append(query, "region="+url.QueryEscape(p.region))
	}
	if p.pathStyle != nil {
		query = append(query, "path-style="+strconv.FormatBool(*p.pathStyle))
	}
	u.RawQuery = strings.Join(query, "&")
	return u.String()
}
