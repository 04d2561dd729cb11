# A driver for the Am7990 on a 32-bit x86 with nothing below it: it asks for its peer's address by ARP, sends
# one ping, and from then on answers ARP and ping. Intel syntax, for Keystone; assembled at 0x1000.
#
# 0x100000 RDP, 0x100002 RAP      0x2000 own MAC, 0x2008 own IP, 0x200c the peer's IP
# 0x3000 initialization block     0x2010 the peer's MAC; counts: 0x2018 ARP answered,
# 0x3100 receive ring of 4        0x201c pings answered, 0x2020 answers to our ping
# 0x3200 transmit ring of 4       0x4000 receive buffers, 0x6000 transmit buffers of 1600 bytes
# edi: next receive descriptor    ebp: next transmit descriptor, both 0 to 3

start:
    mov esp, 0x9000
    cld
    # The initialization block: mode 0, the MAC address, no groups, both rings.
    mov word ptr [0x3000], 0
    mov eax, dword ptr [0x2000]
    mov dword ptr [0x3002], eax
    mov ax, word ptr [0x2004]
    mov word ptr [0x3006], ax
    mov dword ptr [0x3008], 0
    mov dword ptr [0x300c], 0
    mov dword ptr [0x3010], 0x40003100
    mov dword ptr [0x3014], 0x40003200
    # Receive descriptors belong to the chip.
    mov edi, 0x3100
    mov eax, 0x80004000
rings:
    mov dword ptr [edi], eax
    mov dword ptr [edi+4], 0xf9c0
    mov dword ptr [edi+0x100], 0
    add eax, 1600
    add edi, 8
    cmp edi, 0x3120
    jne rings
    xor edi, edi
    xor ebp, ebp
    mov word ptr [0x100002], 0
    mov word ptr [0x100000], 4
    mov word ptr [0x100002], 1
    mov word ptr [0x100000], 0x3000
    mov word ptr [0x100002], 2
    mov word ptr [0x100000], 0
    mov word ptr [0x100002], 3
    mov word ptr [0x100000], 0
    mov word ptr [0x100002], 0
    mov word ptr [0x100000], 1
initialized:
    mov ax, word ptr [0x100000]
    test ax, 0x100
    jz initialized
    mov word ptr [0x100000], 0x142

    # Who has the peer's address?
    call free_buffer
    mov eax, 0xffffffff
    mov dword ptr [ebx], eax
    mov word ptr [ebx+4], ax
    mov dword ptr [ebx+12], 0x01000608
    mov dword ptr [ebx+16], 0x04060008
    mov word ptr [ebx+20], 0x0100
    call own_arp
    mov dword ptr [ebx+32], 0
    mov word ptr [ebx+36], 0
    mov eax, dword ptr [0x200c]
    mov dword ptr [ebx+38], eax
    mov ecx, 42
    call transmit

main:
    # Acknowledge first, so that what comes from now on raises the line again.
    mov ax, word ptr [0x100000]
    and ax, 0x7f00
    or ax, 0x40
    mov word ptr [0x100000], ax
frames:
    mov eax, dword ptr [edi*8+0x3100]
    test eax, eax
    js idle
    imul esi, edi, 1600
    add esi, 0x4000
    test eax, 0x40000000
    jnz next_frame
    cmp word ptr [esi+12], 0x0608
    je is_arp
    cmp word ptr [esi+12], 0x0008
    je is_ip
next_frame:
    mov byte ptr [edi*8+0x3103], 0x80
    inc edi
    and edi, 3
    jmp frames
idle:
    hlt
    jmp main

is_arp:
    mov eax, dword ptr [esi+38]
    cmp eax, dword ptr [0x2008]
    jne next_frame
    cmp word ptr [esi+20], 0x0100
    je arp_request
    mov eax, dword ptr [esi+28]
    cmp eax, dword ptr [0x200c]
    jne next_frame
    mov eax, dword ptr [esi+22]
    mov dword ptr [0x2010], eax
    mov ax, word ptr [esi+26]
    mov word ptr [0x2014], ax
    call ping
    jmp next_frame
arp_request:
    call free_buffer
    mov eax, dword ptr [esi+22]
    mov dword ptr [ebx], eax
    mov dword ptr [ebx+32], eax
    mov ax, word ptr [esi+26]
    mov word ptr [ebx+4], ax
    mov word ptr [ebx+36], ax
    mov eax, dword ptr [esi+28]
    mov dword ptr [ebx+38], eax
    mov dword ptr [ebx+12], 0x01000608
    mov dword ptr [ebx+16], 0x04060008
    mov word ptr [ebx+20], 0x0200
    call own_arp
    mov ecx, 42
    call transmit
    inc dword ptr [0x2018]
    jmp next_frame

is_ip:
    cmp byte ptr [esi+14], 0x45
    jne next_frame
    cmp byte ptr [esi+23], 1
    jne next_frame
    mov eax, dword ptr [esi+30]
    cmp eax, dword ptr [0x2008]
    jne next_frame
    cmp byte ptr [esi+34], 8
    je echo_request
    cmp byte ptr [esi+34], 0
    jne next_frame
    cmp dword ptr [esi+38], 0x01003412
    jne next_frame
    inc dword ptr [0x2020]
    jmp next_frame
echo_request:
    # The same frame back, with the addresses exchanged; the check sequence is not part of it.
    call free_buffer
    movzx ecx, word ptr [edi*8+0x3106]
    sub ecx, 4
    push ecx
    push esi
    push edi
    mov edi, ebx
    rep movsb
    pop edi
    pop esi
    mov eax, dword ptr [esi+6]
    mov dword ptr [ebx], eax
    mov ax, word ptr [esi+10]
    mov word ptr [ebx+4], ax
    mov eax, dword ptr [esi+26]
    mov dword ptr [ebx+30], eax
    mov eax, dword ptr [esi+30]
    mov dword ptr [ebx+26], eax
    mov byte ptr [ebx+34], 0
    add word ptr [ebx+36], 8
    adc word ptr [ebx+36], 0
    pop ecx
    call transmit
    inc dword ptr [0x201c]
    jmp next_frame

# An echo request of 32 zero bytes, identifier 0x1234, sequence 1.
ping:
    call free_buffer
    mov eax, dword ptr [0x2010]
    mov dword ptr [ebx], eax
    mov ax, word ptr [0x2014]
    mov word ptr [ebx+4], ax
    mov dword ptr [ebx+12], 0x00450008
    mov dword ptr [ebx+16], 0x00003c00
    mov dword ptr [ebx+20], 0x01400000
    mov word ptr [ebx+24], 0
    mov eax, dword ptr [0x2008]
    mov dword ptr [ebx+26], eax
    mov eax, dword ptr [0x200c]
    mov dword ptr [ebx+30], eax
    push edi
    lea edi, [ebx+34]
    mov ecx, 10
    xor eax, eax
    rep stosd
    pop edi
    mov byte ptr [ebx+34], 8
    mov dword ptr [ebx+38], 0x01003412
    lea edx, [ebx+14]
    mov ecx, 10
    call checksum
    mov word ptr [ebx+24], ax
    lea edx, [ebx+34]
    mov ecx, 20
    call checksum
    mov word ptr [ebx+36], ax
    mov ecx, 74
    jmp transmit

# ax: the Internet checksum of ecx words at edx.
checksum:
    xor eax, eax
    clc
add_word:
    adc ax, word ptr [edx]
    lea edx, [edx+2]
    dec ecx
    jnz add_word
    adc ax, 0
    not ax
    ret

# The sender of an ARP message at ebx.
own_arp:
    mov eax, dword ptr [0x2000]
    mov dword ptr [ebx+22], eax
    mov ax, word ptr [0x2004]
    mov word ptr [ebx+26], ax
    mov eax, dword ptr [0x2008]
    mov dword ptr [ebx+28], eax
    ret

# ebx: the next transmit buffer, once the chip has done with it.
free_buffer:
    mov eax, dword ptr [ebp*8+0x3200]
    test eax, eax
    js free_buffer
    imul ebx, ebp, 1600
    add ebx, 0x6000
    ret

# Send ecx bytes at ebx, of which the source address is still missing.
transmit:
    mov eax, dword ptr [0x2000]
    mov dword ptr [ebx+6], eax
    mov ax, word ptr [0x2004]
    mov word ptr [ebx+10], ax
    cmp ecx, 60
    jae padded
    mov ecx, 60
padded:
    neg ecx
    mov dword ptr [ebp*8+0x3204], 0
    mov word ptr [ebp*8+0x3204], cx
    mov eax, ebx
    or eax, 0x83000000
    mov dword ptr [ebp*8+0x3200], eax
    mov word ptr [0x100000], 0x48
    inc ebp
    and ebp, 3
    ret
