// A long-poll server on net/http, written with care: what the conformance suite is run against to see what
// a common server can tell of clients that leave.
//
//	POST /push/{queue}             stores the body as an event; 202
//	GET  /poll/{queue}?wait=SECONDS  200 and one event, or 204 if there was none for that long
//	GET  /                           200 and a greeting, for `make bench`
//
// A handler waits for an event, its timer or r.Context().Done(). An event that reaches a handler whose
// client has gone is put back, up to the moment of writing it, and when writing it fails.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	defaultWait = 5
	maxWait     = 60
	maxEvent    = 1 << 20
)

// queue holds events in their order, and the polls that wait for one.
type queue struct {
	events  [][]byte
	waiters []chan []byte
}

type store struct {
	mu     sync.Mutex
	queues map[string]*queue
}

func (s *store) named(name string) *queue {
	q := s.queues[name]
	if q == nil {
		q = &queue{}
		s.queues[name] = q
	}
	return q
}

// give hands an event to the poll that has waited longest, or keeps it: behind the others, or before them
// if it is one that came back.
func (s *store) give(name string, event []byte, back bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.named(name)
	switch {
	case len(q.waiters) > 0:
		// It has room for one, and gets no other.
		q.waiters[0] <- event
		q.waiters = q.waiters[1:]
	case back:
		q.events = append([][]byte{event}, q.events...)
	default:
		q.events = append(q.events, event)
	}
}

// take waits for an event. False if there was none in time, or if ctx was done first.
func (s *store) take(ctx context.Context, name string, wait time.Duration) ([]byte, bool) {
	s.mu.Lock()
	q := s.named(name)
	if len(q.events) > 0 {
		event := q.events[0]
		q.events = q.events[1:]
		s.mu.Unlock()
		return event, true
	}
	waiter := make(chan []byte, 1)
	q.waiters = append(q.waiters, waiter)
	s.mu.Unlock()

	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case event := <-waiter:
		return event, true
	case <-timer.C:
	case <-ctx.Done():
	}
	return s.giveUp(name, waiter)
}

// giveUp takes a poll out of the line; an event may have come just before.
func (s *store) giveUp(name string, waiter chan []byte) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.named(name)
	for i, other := range q.waiters {
		if other == waiter {
			q.waiters = append(q.waiters[:i], q.waiters[i+1:]...)
			break
		}
	}
	if len(q.events) == 0 && len(q.waiters) == 0 {
		delete(s.queues, name)
	}
	select {
	case event := <-waiter:
		return event, true
	default:
		return nil, false
	}
}

func (s *store) push(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/push/")
	if r.Method != http.MethodPost {
		http.Error(w, "push an event by POST", http.StatusMethodNotAllowed)
		return
	}
	event, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEvent))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.give(name, event, false)
	w.WriteHeader(http.StatusAccepted)
}

func (s *store) poll(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/poll/")
	if r.Method != http.MethodGet {
		http.Error(w, "poll by GET", http.StatusMethodNotAllowed)
		return
	}
	wait := defaultWait
	if given := r.URL.Query().Get("wait"); given != "" {
		var err error
		if wait, err = strconv.Atoi(given); err != nil || wait < 0 || wait > maxWait {
			http.Error(w, "wait is a whole number of seconds from 0 to 60", http.StatusBadRequest)
			return
		}
	}
	event, ok := s.take(r.Context(), name, time.Duration(wait)*time.Second)
	if !ok {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if r.Context().Err() != nil {
		s.give(name, event, true)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(event)))
	if _, err := w.Write(event); err != nil {
		s.give(name, event, true)
	}
}

func hello(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "Hello, world!\n")
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "the address to listen on, as IP:PORT")
	cert := flag.String("cert", "", "a PEM file with a certificate: serve HTTPS, with HTTP/2")
	key := flag.String("key", "", "a PEM file with its key")
	flag.Parse()

	s := &store{queues: make(map[string]*queue)}
	mux := http.NewServeMux()
	mux.HandleFunc("/push/", s.push)
	mux.HandleFunc("/poll/", s.poll)
	mux.HandleFunc("/", hello)

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0)}
	if *cert == "" {
		fmt.Printf("listening on http://%s\n", listener.Addr())
		log.Fatal(server.Serve(listener))
	}
	fmt.Printf("listening on https://%s\n", listener.Addr())
	log.Fatal(server.ServeTLS(listener, *cert, *key))
}
