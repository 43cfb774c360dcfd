package s3store

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/quire-db/quire/backup/objects"
)

// clean gives the environment credentials and what the arguments say, in turns
// name and value.
func clean(t *testing.T, pairs ...string) {
	t.Helper()
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3",
		"AWS_MAX_ATTEMPTS", "AWS_CA_BUNDLE", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	t.Setenv("AWS_ACCESS_KEY_ID", "an-access-key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "a-secret-key")
	for i := 0; i < len(pairs); i += 2 {
		t.Setenv(pairs[i], pairs[i+1])
	}
}

func open(raw string) (*Store, error) {
	s, err := objects.Open(context.Background(), raw, Schemes(Options{}))
	if err != nil {
		return nil, err
	}
	return s.(*Store), nil
}

// TestOpen: what the URL says comes before what the environment says.
func TestOpen(t *testing.T) {
	for _, c := range []struct {
		raw, prefix, region, endpoint string
		pathStyle                     bool
		name                          string // as it is written again, if differently
		env                           []string
	}{
		{raw: "s3://the-bucket", region: "eu-north-1", env: []string{"AWS_REGION", "eu-north-1"}},
		{raw: "s3://the-bucket/", region: "eu-north-1", name: "s3://the-bucket", env: []string{"AWS_REGION", "eu-north-1"}},
		{raw: "s3://the-bucket/a/b", prefix: "a/b/", region: "eu-north-1", env: []string{"AWS_REGION", "eu-north-1"}},
		{raw: "s3://the-bucket/a/b/?region=x-1", prefix: "a/b/", region: "x-1", name: "s3://the-bucket/a/b?region=x-1",
			env: []string{"AWS_REGION", "eu-north-1"}},
		{raw: "s3://the-bucket/a%20%C3%A9%3F?region=x-1&path-style=true", prefix: "a é?/", region: "x-1", pathStyle: true},
		{raw: "s3://the-bucket?endpoint=http://127.0.0.1:9000", region: "us-east-1", endpoint: "http://127.0.0.1:9000", pathStyle: true},
		{raw: "s3://the-bucket?endpoint=https://host/&path-style=false", region: "us-east-1", endpoint: "https://host",
			name: "s3://the-bucket?endpoint=https://host&path-style=false"},
		{raw: "s3://the-bucket?endpoint=http%3A%2F%2F%5B::1%5D:9000&region=r", region: "r", endpoint: "http://[::1]:9000", pathStyle: true,
			name: "s3://the-bucket?endpoint=http://[::1]:9000&region=r"},
		{raw: "s3://the-bucket", region: "us-east-1", endpoint: "http://env:1", pathStyle: true, env: []string{"AWS_ENDPOINT_URL_S3", "http://env:1"}},
		{raw: "s3://the-bucket?endpoint=http://url:1", region: "us-east-1", endpoint: "http://url:1", pathStyle: true,
			env: []string{"AWS_ENDPOINT_URL", "http://env:1"}},
	} {
		t.Run(c.raw, func(t *testing.T) {
			clean(t, c.env...)
			s, err := open(c.raw)
			if err != nil {
				t.Fatal(err)
			}
			if c.name == "" {
				c.name = c.raw
			}
			o := s.client.Options()
			endpoint := ""
			if o.BaseEndpoint != nil {
				endpoint = *o.BaseEndpoint
			}
			if s.place.prefix != c.prefix || o.Region != c.region || endpoint != c.endpoint || o.UsePathStyle != c.pathStyle || s.String() != c.name {
				t.Errorf("prefix %q, region %q, endpoint %q, path-style %v, name %q", s.place.prefix, o.Region, endpoint, o.UsePathStyle, s)
			}
		})
	}
}

// TestOpenRefuses, and repeats nothing that may be a secret.
func TestOpenRefuses(t *testing.T) {
	clean(t)
	for raw, says := range map[string]string{
		"s3://the-bucket":              "AWS_REGION",
		"s3:///prefix":                 "no name of a bucket",
		"s3://":                        "no name of a bucket",
		"s3:the-bucket":                "no name of a bucket",
		"s3://ab":                      "no name of a bucket",
		"s3://the-bucket:80/x":         "no name of a bucket",
		"s3://b%C3%BCcket/x":           "no name of a bucket",
		"s3://key:secret@the-bucket/x": "environment",
		"s3://secret@the-bucket/x":     "environment",
		"s3://the-bucket/x#y":          "%23",
		"s3://the-bucket//x":           `the part ""`,
		"s3://the-bucket/x//":          `the part ""`,
		"s3://the-bucket/x/../y":       `the part ".."`,
		"s3://the-bucket/./y":          `the part "."`,
		"s3://the-bucket/x%0Ay":        "no text",
		"s3://the-bucket/%FF":          "no text",
		"s3://the-bucket/" + strings.Repeat("x", MaxPrefix+1): "501 bytes",
		"s3://the-bucket?secret_key=secret":                   "option",
		"s3://the-bucket?region=":                             "one value",
		"s3://the-bucket?region=a&region=b":                   "one value",
		"s3://the-bucket?region=%zz":                          "cannot be read",
		"s3://the-bucket?path-style=secret":                   "path-style",
		"s3://the-bucket?endpoint=host:9000":                  "endpoint",
		"s3://the-bucket?endpoint=ftp://host":                 "endpoint",
		"s3://the-bucket?endpoint=http://":                    "endpoint",
		"s3://the-bucket?endpoint=http://key:secret@host":     "endpoint",
		"s3://the-bucket?endpoint=http://host/path":           "endpoint",
		"s3://the-bucket?endpoint=http://host?secret":         "endpoint",
		"s3://the-bucket?endpoint=http://ho%20st:secret":      "endpoint",
		"s3://the-bucket?endpoint=http://h;region=a":          "cannot be read",
	} {
		_, err := open(raw)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret_key=") || strings.Contains(err.Error(), "=secret") ||
			strings.Contains(err.Error(), ":secret") {
			t.Errorf("%s: %v, want %q", raw, err, says)
		}
	}
}

func TestOpenWithABadProfile(t *testing.T) {
	clean(t, "AWS_PROFILE", "nobody")
	if _, err := open("s3://the-bucket?region=x"); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("error is %v", err)
	}
}

func TestAttempts(t *testing.T) {
	for _, c := range []struct {
		env        string
		given, has int
	}{{"", 0, DefaultAttempts}, {"7", 0, 7}, {"7", 2, 2}, {"", 2, 2}} {
		clean(t, "AWS_MAX_ATTEMPTS", c.env)
		u := &url.URL{Scheme: "s3", Host: "the-bucket", RawQuery: "region=x"}
		s, err := Open(context.Background(), u, Options{Attempts: c.given})
		if err != nil {
			t.Fatal(err)
		}
		if s.opts.Attempts != c.has || s.client.Options().Retryer.MaxAttempts() != 1 {
			t.Errorf("%+v: %d attempts, times %d of the SDK", c, s.opts.Attempts, s.client.Options().Retryer.MaxAttempts())
		}
	}
}

// FuzzURL: what is opened has a name under which it is opened again.
func FuzzURL(f *testing.F) {
	f.Add("s3://the-bucket/a/b?endpoint=http://127.0.0.1:9000&region=eu-central-1&path-style=false")
	f.Add("s3://the-bucket/%20%3F%C3%A9/?endpoint=https%3A%2F%2F[::1]")
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.Parse(raw)
		if err != nil {
			return
		}
		p, err := parse(u)
		if err != nil {
			return
		}
		again, err := url.Parse(p.String())
		if err != nil {
			t.Fatalf("%q is written %q: %v", raw, p, err)
		}
		if q, err := parse(again); err != nil || q.String() != p.String() || q.prefix != p.prefix || q.endpoint != p.endpoint || q.region != p.region {
			t.Errorf("%q is %+v, then %+v, %v", raw, p, q, err)
		}
	})
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 0-0/1")
	f.Add("bytes 10-9223372036854775806/9223372036854775807")
	f.Fuzz(func(t *testing.T, s string) {
		first, last, size, err := parseContentRange(s)
		if err == nil && (first < 0 || last < first || size <= last) {
			t.Errorf("%q is %d to %d of %d", s, first, last, size)
		}
	})
}

// pipe is a connection that notes deadlines.
type pipe struct {
	net.Conn
	until []time.Time
}

func (p *pipe) Read(b []byte) (int, error)  { return len(b), nil }
func (p *pipe) Write(b []byte) (int, error) { return len(b), nil }
func (p *pipe) SetDeadline(at time.Time) error {
	p.until = append(p.until, at)
	return nil
}

// TestWatchedConn: who moves bytes has all the time again, for both directions.
func TestWatchedConn(t *testing.T) {
	p := &pipe{}
	c := &watchedConn{Conn: p, stall: time.Hour}
	for n, move := range []func([]byte) (int, error){c.Read, c.Write} {
		begin := time.Now()
		if moved, err := move(make([]byte, 5)); moved != 5 || err != nil {
			t.Errorf("moved %d, %v", moved, err)
		}
		if len(p.until) != 2*n+2 || p.until[2*n+1].Before(begin.Add(time.Hour)) {
			t.Errorf("deadlines %v", p.until)
		}
	}
}

// TestOneRequestAConnection: HTTP/2 is not spoken.
func TestOneRequestAConnection(t *testing.T) {
	client := httpClient(func() time.Duration { return time.Minute })
	transport := client.(interface{ GetTransport() *http.Transport }).GetTransport()
	if transport.Protocols.HTTP2() || !transport.Protocols.HTTP1() || transport.ForceAttemptHTTP2 {
		t.Errorf("protocols %v", transport.Protocols)
	}
}
