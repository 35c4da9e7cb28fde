;; SPDX-License-Identifier: GPL-2.0
;; Work for a garbage collector, whose results can be told beforehand: old memory that
;; is made to point to new memory all the time, which the collector has to notice.
;; Writes its progress to a file, and ends with "right" or "wrong" in another one when
;; there is a file "finish".

(define slots 2048)
(define depth 6)
(define leaves (expt 2 depth))
(define old (make-vector slots '()))
(define names (make-hash-table))

(define (tree d s)
  (if (= d 0)
      s
      (cons (tree (- d 1) (* 2 s)) (tree (- d 1) (+ 1 (* 2 s))))))

(define (sum t)
  (cond ((pair? t) (+ (sum (car t)) (sum (cdr t))))
        ((integer? t) t)
        (else 0)))

;; The leaves of a tree of s are the numbers from s * leaves on.
(define (right-sum s)
  (+ (* s leaves leaves) (quotient (* leaves (- leaves 1)) 2)))

(define (slot-seed i round)
  (+ i (* slots (modulo (+ round (modulo (* i 7) 5)) 1000))))

;; When slot i was written to last: a fifth of the slots in each round
(define (last-round i round)
  (- round (modulo (- round i) 5)))

(define (write-file name text)
  (let ((part (string-append name ".part")))
    (call-with-output-file part (lambda (port) (display text port) (newline port)))
    (rename-file part name)))

(define (fill-slot i round)
  (vector-set! old i (tree depth (slot-seed i round)))
  (hash-set! names (number->string i) (list round i)))

(define (store round)
  (do ((i 0 (+ i 1))) ((= i slots))
    (if (or (= round 4) (= 0 (modulo (- round i) 5)))
        (fill-slot i (last-round i round)))))

(define (wrong-slots round)
  (let loop ((i 0) (wrong 0))
    (if (= i slots)
        wrong
        (let ((r (last-round i round)))
          (loop (+ i 1)
                (if (and (= (sum (vector-ref old i)) (right-sum (slot-seed i r)))
                         (equal? (hash-ref names (number->string i)) (list r i)))
                    wrong
                    (+ wrong 1)))))))

(let loop ((round 4) (wrong 0))
  (store round)
  (let ((wrong (+ wrong (wrong-slots round))))
    (write-file "progress" round)
    (if (or (> wrong 0) (file-exists? "finish"))
        (write-file "result"
                    (format #f "~a: ~a slots wrong, ~a rounds, ~a collections"
                            (if (= wrong 0) "right" "wrong") wrong round
                            (assq-ref (gc-stats) 'gc-times)))
        (loop (+ round 1) wrong))))
