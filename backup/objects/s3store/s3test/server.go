package s3test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Binary is the environment variable that has the path of the server's program.
const Binary = "QUIRE_VERSITYGW"

// Bucket is the one that each server has.
const Bucket = "the-bucket"

// Options of a server.
type Options struct {
	TLS      bool // https, by a certificate that AWS_CA_BUNDLE names
	Careless bool // it keeps no facts about objects: so it cannot refuse a second put
}

// Server is one that runs until its test ends.
type Server struct {
	Endpoint string // URL
	Dir      string // where the bucket's objects are files
}

const (
	access = "an-access-key"
	secret = "a-secret-key"
	health = "/health"

	startTimeout = 30 * time.Second
	startTries   = 5 // with another port each, if somebody else was faster to take one
)

// Start starts a server, and ends the test if it does not answer.
func Start(t *testing.T, opts Options) *Server {
	t.Helper()
	program := os.Getenv(Binary)
	if program == "" {
		t.Fatalf("%s is not set: it must have the path of versitygw (.ci/run s3 builds it)", Binary)
	}
	root := t.TempDir()
	s := &Server{Dir: filepath.Join(root, "data", Bucket)}
	must(t, os.MkdirAll(s.Dir, 0o700))
	environment(t)
	args := arguments(t, root, opts)
	var err error
	for range startTries {
		var address string
		address, err = freeAddress()
		must(t, err)
		if err = run(t, program, append([]string{"--port", address}, args...), address, opts.TLS); err == nil {
			s.Endpoint = scheme(opts) + "://" + address
			return s
		}
	}
	t.Fatal(err)
	return nil
}

func scheme(opts Options) string {
	if opts.TLS {
		return "https"
	}
	return "http"
}

// URL is that of the store below a prefix of the bucket.
func (s *Server) URL(prefix string) string {
	return "s3://" + Bucket + "/" + prefix + "?endpoint=" + s.Endpoint
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// environment replaces what the AWS SDK looks at.
func environment(t *testing.T) {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	none := filepath.Join(t.TempDir(), "none")
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none,
	} {
		t.Setenv(name, value)
	}
}

// arguments are those of the program but for its port.
func arguments(t *testing.T, root string, opts Options) []string {
	args := []string{"--quiet", "--keep-alive", "--access", access, "--secret", secret, "--health", health}
	if opts.TLS {
		cert, key := certificate(t, root)
		args = append(args, "--cert", cert, "--key", key)
	}
	args = append(args, "posix")
	data := filepath.Join(root, "data")
	switch err := unix.Setxattr(data, "user.test", []byte("1"), 0); {
	case opts.Careless:
		args = append(args, "--nometa")
	case err != nil: // facts are kept in extended attributes, where there are any
		args = append(args, "--sidecar", directory(t, root, "sidecar"))
	}
	return append(args, data)
}

func directory(t *testing.T, root, name string) string {
	path := filepath.Join(root, name)
	must(t, os.Mkdir(path, 0o700))
	return path
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// guard runs a program until that ends or standard input does: so that it does not
// outlive a test that was killed.
const guard = `
exec 3<&0
"$@" </dev/null 3<&- & program=$!
{ cat <&3; kill -9 $program; } >/dev/null 2>&1 & guard=$!
exec 3<&-
wait $program
kill $guard`

// run starts the program and returns when it answers, or has ended.
func run(t *testing.T, program string, args []string, address string, withTLS bool) error {
	var says bytes.Buffer
	c := exec.Command("sh", append([]string{"-c", guard, "sh", program}, args...)...)
	c.Stdout, c.Stderr = &says, &says
	stop, err := c.StdinPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Wait() // it is killed
	}()
	t.Cleanup(func() {
		_ = stop.Close() // it may have ended
		<-ended
	})
	for begin := time.Now(); time.Since(begin) < startTimeout; time.Sleep(20 * time.Millisecond) {
		select {
		case <-ended:
			return fmt.Errorf("versitygw ended: %s", says.String())
		default:
		}
		if answers(address, withTLS) {
			return nil
		}
	}
	return errors.New("versitygw does not answer")
}

// answers reports whether the server is there. Who it is, the tests will see.
func answers(address string, withTLS bool) bool {
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	client := http.Client{Transport: transport, Timeout: time.Second}
	url := "http://" + address + health
	if withTLS {
		url = "https://" + address + health
	}
	r, err := client.Get(url)
	if err != nil {
		return false
	}
	return r.Body.Close() == nil && r.StatusCode == http.StatusOK
}
