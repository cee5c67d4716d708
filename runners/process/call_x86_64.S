/* Calls what the frames of a batch say, one after the other; runners/process/stub.py has this as bytes, and says what for.
 *
 * golden_stub(header *rdi, count rsi). `own` is a page of its own after this one: what must be known again when a call
 * has returned cannot be in a register, nor relative to the stack pointer, since the call may have changed either.
 */
        .intel_syntax noprefix
        .text
        .set own, golden_stub + 4096
golden_stub:
        push    rbx
        push    rbp
        push    r12
        push    r13
        push    r14
        push    r15
        sub     rsp, 88                         /* ten arguments on the stack, which is aligned then */
        mov     [rip + own], rdi
        lea     rax, [rdi + 64]
        mov     [rip + own + 8], rax            /* the frame */
        mov     [rip + own + 16], rsi           /* frames to go */
        mov     [rip + own + 24], rsp
        stmxcsr [rip + own + 32]
        fnstcw  [rip + own + 36]
next:
        mov     rax, [rip + own + 16]
        test    rax, rax
        jz      done
        dec     rax
        mov     [rip + own + 16], rax
        mov     r11, [rip + own]
        inc     qword ptr [r11 + 8]             /* frames begun: tells after a crash which call it was */
        ldmxcsr [r11]
        fninit
        fldcw   [r11 + 4]
        mov     r10, [rip + own + 8]
        movups  xmm0, [r10 + 56]
        movups  [rsp], xmm0
        movups  xmm0, [r10 + 72]
        movups  [rsp + 16], xmm0
        movups  xmm0, [r10 + 88]
        movups  [rsp + 32], xmm0
        movups  xmm0, [r10 + 104]
        movups  [rsp + 48], xmm0
        movups  xmm0, [r10 + 120]
        movups  [rsp + 64], xmm0
        movsd   xmm0, [r10 + 136]
        movsd   xmm1, [r10 + 144]
        movsd   xmm2, [r10 + 152]
        movsd   xmm3, [r10 + 160]
        movsd   xmm4, [r10 + 168]
        movsd   xmm5, [r10 + 176]
        movsd   xmm6, [r10 + 184]
        movsd   xmm7, [r10 + 192]
        mov     rdi, [r10 + 8]
        mov     rsi, [r10 + 16]
        mov     rdx, [r10 + 24]
        mov     rcx, [r10 + 32]
        mov     r8, [r10 + 40]
        mov     r9, [r10 + 48]
        mov     rbx, [r11 + 16]
        mov     rbp, [r11 + 24]
        mov     r12, [r11 + 32]
        mov     r13, [r11 + 40]
        mov     r14, [r11 + 48]
        mov     r15, [r11 + 56]
        mov     r11, [r10]
        mov     eax, 8
        call    r11
        mov     r10, [rip + own + 8]
        mov     r11, rsp
        mov     rsp, [rip + own + 24]
        sub     r11, rsp
        mov     [r10 + 264], r11
        pushfq
        pop     qword ptr [r10 + 208]
        cld
        mov     [r10 + 216], rbx
        mov     [r10 + 224], rbp
        mov     [r10 + 232], r12
        mov     [r10 + 240], r13
        mov     [r10 + 248], r14
        mov     [r10 + 256], r15
        fnstenv [r10 + 272]
        stmxcsr [r10 + 300]
        mov     qword ptr [r10 + 200], 1        /* returned */
        add     qword ptr [rip + own + 8], 304
        jmp     next
done:
        ldmxcsr [rip + own + 32]
        fninit
        fldcw   [rip + own + 36]
        add     rsp, 88
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbp
        pop     rbx
        ret
