//go:build disks

package disks

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience with a child that is to say something.
const patience = 30 * time.Second

// running is a child at work.
type running struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	acks  string
	said  chan string // closed when it ends
	read  sync.WaitGroup
	wrong []string // after end
	ended string   // its last words, after end
}

// start starts a child on the store in dir: through another command when wrap
// names one, with more in its environment.
func start(t *testing.T, dir string, wrap []string, env ...string) *running {
	t.Helper()
	r := &running{t: t, acks: filepath.Join(t.TempDir(), "acks"), said: make(chan string, 1000)}
	args := append(wrap[:len(wrap):len(wrap)], os.Args[0])
	r.cmd = exec.Command(args[0], args[1:]...)
	r.cmd.Env = append(os.Environ(), envStore+"="+dir, envAcks+"="+r.acks)
	r.cmd.Env = append(r.cmd.Env, env...)
	r.cmd.Stderr = os.Stderr
	out, err := r.cmd.StdoutPipe()
	must(t, err)
	r.stdin, err = r.cmd.StdinPipe()
	must(t, err)
	must(t, r.cmd.Start())
	t.Cleanup(r.end)
	r.read.Go(func() {
		defer close(r.said)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			line := lines.Text()
			switch {
			case strings.HasPrefix(line, saysWrong):
				r.wrong = append(r.wrong, line)
			case strings.HasPrefix(line, saysEnd):
				r.ended = line
			default:
				r.said <- line
			}
		}
	})
	return r
}

// heard waits until the child has said a line that begins with a word, and
// returns it; false if it ended first.
func (r *running) heard(word string) (line string, ok bool) {
	r.t.Helper()
	limit := time.After(patience)
	for {
		select {
		case line, ok := <-r.said:
			if !ok || strings.HasPrefix(line, word) {
				return line, ok
			}
		case <-limit:
			r.t.Fatalf("the child did not say %q within %v", word, patience)
		}
	}
}

// end kills the child, if it still runs, and waits for it.
func (r *running) end() {
	if r.cmd.ProcessState != nil {
		return
	}
	r.cmd.Process.Kill()
	r.read.Wait()
	r.cmd.Wait()
	r.stdin.Close()
}

// finish waits until the child ends by itself.
func (r *running) finish() {
	r.t.Helper()
	limit := time.AfterFunc(4*patience, func() { r.cmd.Process.Kill() })
	for range r.said {
	}
	r.read.Wait()
	err := r.cmd.Wait()
	if !limit.Stop() {
		r.t.Fatalf("the child did not end: %v", err)
	}
	r.stdin.Close()
	for _, w := range r.wrong {
		r.t.Error(w)
	}
	if r.ended == "" {
		r.t.Errorf("the child ended without a word: %v", err)
	}
}

// crashed ends a child by a crash, some time after it began to open the store
// or to commit, and returns its acknowledgements.
func (r *running) crashed(word string, after time.Duration, crash func(), base numbers) acks {
	r.t.Helper()
	if line, ok := r.heard(word); !ok {
		r.read.Wait()
		r.t.Fatalf("the child ended before it said %q: %s %s", word, line, r.ended)
	} else if word == saysOpen && line != fmt.Sprint(saysOpen, " ", base) {
		r.t.Fatalf("opening found %s, looking found %v", line, base)
	}
	time.Sleep(after)
	crash()
	r.end()
	a, err := readAcks(r.acks, base)
	must(r.t, err)
	return a
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
